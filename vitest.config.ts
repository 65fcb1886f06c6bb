/** Tests are judged by what they find, never by how busy the machine is: the limit is only there to end a hang. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: { include: ['test/**/*.test.ts'], testTimeout: 120_000, hookTimeout: 120_000 },
});
