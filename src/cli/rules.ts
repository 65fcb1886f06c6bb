/** stub */
export async function listRules(): Promise<number> {
  return 0;
}
