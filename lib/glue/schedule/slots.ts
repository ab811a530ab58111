import type { ObjectStore } from "../../storage/object-store.js";
import { changeDocument } from "./documents.js";

/** Who holds a place, or waits for one. */
export interface Holder {
  readonly chain: string;
  /** Empty: the chain itself, in a workflow. */
  readonly run: string;
}

/** The places of a job (MaxConcurrentRuns), or of a workflow. */
export interface Slots {
  readonly running: readonly Holder[];
  /** In the order in which they came. */
  readonly waiting: readonly Holder[];
}

export interface SlotRequest {
  readonly holder: Holder;
  readonly most: number;
  /** Wait when there is none. */
  readonly queue: boolean;
  /** Whether a holder needs no place any more, although it was never given back. */
  isOver(holder: Holder): Promise<boolean>;
}

const NONE: Slots = { running: [], waiting: [] };

/** Asks for a place; asking again for one that is held changes nothing. */
export async function acquireSlot(
  store: ObjectStore,
  uri: string,
  request: SlotRequest,
): Promise<"granted" | "waiting" | "refused"> {
  const { holder, most, queue } = request;
  let answer: "granted" | "waiting" | "refused" = "refused";
  await changeDocument<Slots>(store, uri, async (before) => {
    let slots = before ?? NONE;
    const ahead = () => {
      const index = slots.waiting.findIndex((one) => isSame(one, holder));
      return index < 0 ? slots.waiting.length : index;
    };
    answer = "granted";
    if (slots.running.some((one) => isSame(one, holder))) return undefined;
    // A holder that died, or was overtaken, between two puts may have left its place behind.
    if (slots.running.length >= most || ahead() > 0) slots = await withoutDead(slots, holder, request);
    if (slots.running.length < most && ahead() === 0) {
      return {
        running: [...slots.running, holder],
        waiting: slots.waiting.filter((one) => !isSame(one, holder)),
      };
    }
    answer = queue ? "waiting" : "refused";
    const queued = slots.waiting.some((one) => isSame(one, holder));
    if (queue && !queued) return { ...slots, waiting: [...slots.waiting, holder] };
    return slots === before ? undefined : slots;
  });
  return answer;
}

/** Gives a place, or the waiting for it, back. */
export async function releaseSlot(store: ObjectStore, uri: string, holder: Holder): Promise<void> {
  await changeDocument<Slots>(store, uri, (slots) => {
    if (slots === undefined) return undefined;
    const next = {
      running: slots.running.filter((one) => !isSame(one, holder)),
      waiting: slots.waiting.filter((one) => !isSame(one, holder)),
    };
    return next.running.length === slots.running.length && next.waiting.length === slots.waiting.length
      ? undefined
      : next;
  });
}

async function withoutDead(slots: Slots, self: Holder, { isOver }: SlotRequest): Promise<Slots> {
  const living = async (holders: readonly Holder[]) => {
    const found: Holder[] = [];
    for (const one of holders) if (isSame(one, self) || !(await isOver(one))) found.push(one);
    return found;
  };
  const [running, waiting] = [await living(slots.running), await living(slots.waiting)];
  const changed = running.length !== slots.running.length || waiting.length !== slots.waiting.length;
  return changed ? { running, waiting } : slots;
}

function isSame(left: Holder, right: Holder): boolean {
  return left.chain === right.chain && left.run === right.run;
}
