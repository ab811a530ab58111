import type { SessionAccess } from "./service.js";

/** The header that EMR's and Glue's endpoints ask for. */
const TOKEN_HEADER = "x-aws-proxy-auth";
/** A token is renewed this long before it expires, or in the last fifth of its life if that is shorter. */
const MARGIN_MS = 5 * 60_000;

/** Gives the headers for a call, with a token that holds. */
export interface TokenSource {
  headers(request: { readonly refused: Readonly<Record<string, string>> | undefined }): Promise<Record<string, string>>;
}

/**
 * Keeps a session's token fresh: each call asks for it, and near its end one of them fetches the next. While that fails, the
 * one at hand is used until it expires.
 *
 * @param onProblem told that a token could not be renewed in time.
 */
export function createTokenSource(
  first: SessionAccess,
  renew: () => Promise<SessionAccess>,
  onProblem: (error: unknown) => void,
  now: () => number = Date.now,
): TokenSource {
  let access = first;
  let fetched = now();
  let renewal: Promise<void> | undefined;

  const renewed = () => {
    renewal ??= renew()
      .then((next) => {
        access = next;
        fetched = now();
      })
      .finally(() => {
        renewal = undefined;
      });
    return renewal;
  };

  return {
    async headers({ refused }) {
      const expires = access.expires.getTime();
      const margin = Math.min(MARGIN_MS, (expires - fetched) / 5);
      if (refused?.[TOKEN_HEADER] === access.token || now() >= expires) {
        await renewed();
      } else if (now() >= expires - margin) {
        // The call need not wait for it: this token still holds.
        renewed().catch(onProblem);
      }
      return { [TOKEN_HEADER]: access.token };
    },
  };
}
