import { lstatSync, readFileSync, statSync } from "node:fs";
import { userInfo } from "node:os";
import { dirname, join } from "node:path";

/** Who PostgreSQL runs as: it refuses to run as root. */
export interface ServiceAccount {
  readonly uid: number;
  readonly gid: number;
}

/** Where root keeps what another account must reach when the state home lies under a closed folder such as /root. */
export const ROOT_SHARED_FOLDER = "/var/lib/glue-connect";

/** `nobody` when we are root, else undefined: we run it ourselves. Needs no account to be made. */
export function serviceAccount(): ServiceAccount | undefined {
  if (userInfo().uid !== 0) return undefined;
  const nobody = /^nobody:[^:]*:(\d+):(\d+):/m.exec(readFileSync("/etc/passwd", "utf8"));
  return { uid: Number(nobody?.[1] ?? 65_534), gid: Number(nobody?.[2] ?? 65_534) };
}

/** Can the account get into this existing folder, or read this file? Always true when it is ourselves. */
export function canReach(path: string, account: ServiceAccount | undefined): boolean {
  if (account === undefined) return true;
  for (let folder = dirname(path); ; folder = dirname(folder)) {
    if (!allows(folder, account, 0o1)) return false;
    if (dirname(folder) === folder) break;
  }
  return allows(path, account, statSync(path).isDirectory() ? 0o1 : 0o4);
}

function allows(path: string, account: ServiceAccount, bits: number): boolean {
  const { uid, gid, mode } = statSync(path);
  const shift = uid === account.uid ? 6 : gid === account.gid ? 3 : 0;
  return ((mode >> shift) & bits) === bits;
}

/** Does something of that name lie in the folder, even a link that leads nowhere? */
export function exists(folder: string, name: string): boolean {
  return lstatSync(join(folder, name), { throwIfNoEntry: false }) !== undefined;
}
