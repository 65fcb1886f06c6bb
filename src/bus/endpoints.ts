/** The devices that a unit serves, by requester id, on whatever bus they are. */
import { invariant } from '../base/errno.js';
import type { Endpoint, EndpointRouter } from './dma.js';

export class Endpoints implements EndpointRouter {
  readonly #bySource = new Map<number, Endpoint>();

  add(endpoint: Endpoint): void {
    const { sourceId, name } = endpoint;
    invariant(
      !this.#bySource.has(sourceId),
      `${name} has the requester id of ${this.endpoint(sourceId)?.name}`,
    );
    this.#bySource.set(sourceId, endpoint);
  }

  remove(endpoint: Endpoint): void {
    this.#bySource.delete(endpoint.sourceId);
  }

  endpoint(sourceId: number): Endpoint | null {
    return this.#bySource.get(sourceId) ?? null;
  }
}
