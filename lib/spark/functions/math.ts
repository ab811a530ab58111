import { type Column, type ColumnOrName, lit } from "../column.js";
import { f0, f1, f1opt, f2, f2opt, fn, invoke, withValues } from "./call.js";

export const abs = f1("abs");
export const acos = f1("acos");
export const acosh = f1("acosh");
export const asin = f1("asin");
export const asinh = f1("asinh");
export const atan = f1("atan");
export const atan2 = f2("atan2");
export const atanh = f1("atanh");
export const bin = f1("bin");
export const bit_count = f1("bit_count");
export const bit_get = f2("bit_get");
export const getbit = f2("getbit");
export const bitwise_not = f1("~");
export const bround = (column: ColumnOrName, scale?: number): Column => withValues("bround", [column], scale);
export const cbrt = f1("cbrt");
export const ceil = f1opt("ceil");
export const ceiling = f1opt("ceiling");
export const conv = (column: ColumnOrName, fromBase: number, toBase: number): Column =>
  withValues("conv", [column], fromBase, toBase);
export const cos = f1("cos");
export const cosh = f1("cosh");
export const cot = f1("cot");
export const csc = f1("csc");
export const degrees = f1("degrees");
export const e = f0("e");
export const exp = f1("exp");
export const expm1 = f1("expm1");
export const factorial = f1("factorial");
export const floor = f1opt("floor");
export const hex = f1("hex");
export const hypot = f2("hypot");
export const ln = f1("ln");
/** The natural logarithm of a column, or to a base: `log(10, "x")`. */
export const log = (first: number | ColumnOrName, column?: ColumnOrName): Column =>
  column === undefined
    ? invoke("ln", [first as ColumnOrName])
    : invoke("log", [typeof first === "number" ? lit(first) : first, column]);
export const log10 = f1("log10");
export const log1p = f1("log1p");
export const log2 = f1("log2");
export const negate = f1("negative");
export const negative = f1("negative");
export const pi = f0("pi");
export const pmod = f2("pmod");
export const positive = f1("positive");
export const pow = f2("power");
export const power = f2("power");
export const radians = f1("radians");
const seeded =
  (name: string) =>
  (seed?: number | bigint): Column =>
    // A seed of our own: without one the server would draw another at each analysis of the plan.
    invoke(name, [lit(seed ?? Math.floor(Math.random() * Number.MAX_SAFE_INTEGER))]);
export const rand = seeded("rand");
/** The same as {@link rand}. */
export const random = rand;
export const randn = seeded("randn");
export const rint = f1("rint");
export const round = (column: ColumnOrName, scale?: number): Column => withValues("round", [column], scale);
export const sec = f1("sec");
export const shiftleft = (column: ColumnOrName, bits: number): Column => withValues("shiftleft", [column], bits);
export const shiftright = (column: ColumnOrName, bits: number): Column => withValues("shiftright", [column], bits);
export const shiftrightunsigned = (column: ColumnOrName, bits: number): Column =>
  withValues("shiftrightunsigned", [column], bits);
export const sign = f1("sign");
export const signum = f1("signum");
export const sin = f1("sin");
export const sinh = f1("sinh");
export const sqrt = f1("sqrt");
export const tan = f1("tan");
export const tanh = f1("tanh");
export const try_add = f2("try_add");
export const try_divide = f2("try_divide");
export const try_multiply = f2("try_multiply");
export const try_subtract = f2("try_subtract");
export const unhex = f1("unhex");
export const width_bucket = (
  value: ColumnOrName,
  min: ColumnOrName,
  max: ColumnOrName,
  buckets: ColumnOrName,
): Column => invoke("width_bucket", [value, min, max, buckets]);

// Hashes. None of those over several columns tells NULL from a missing column, nor ("a","b") from ("ab"): see `struct`.
export const crc32 = f1("crc32");
export const hash = fn("hash");
export const md5 = f1("md5");
export const sha = f1("sha");
export const sha1 = f1("sha1");
/** @param bits 224, 256, 384 or 512 */
export const sha2 = (column: ColumnOrName, bits: number): Column => withValues("sha2", [column], bits);
export const xxhash64 = fn("xxhash64");

// Bitmaps
export const bitmap_bit_position = f1("bitmap_bit_position");
export const bitmap_bucket_number = f1("bitmap_bucket_number");
export const bitmap_count = f1("bitmap_count");

// Encryption
export const aes_encrypt = f2opt("aes_encrypt");
export const aes_decrypt = f2opt("aes_decrypt");
export const try_aes_decrypt = f2opt("try_aes_decrypt");
