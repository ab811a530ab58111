import { describe, expect, it } from "vitest";
import { parseConnectionString, SparkConnectError } from "../../../lib/spark/index.js";

describe("connection string", () => {
  it("has a default port and no TLS", () => {
    expect(parseConnectionString("sc://spark.example.com")).toEqual({
      host: "spark.example.com",
      port: 15002,
      useTls: false,
      token: undefined,
      userId: undefined,
      sessionId: undefined,
      userAgent: undefined,
      headers: {},
    });
  });

  it("reads every parameter, and takes the others for headers", () => {
    const id = "00112233-4455-6677-8899-aabbccddeeff";
    const text = `sc://h:443/;use_ssl=true;token=a%3Db;user_id=me;session_id=${id};user_agent=job%201;x-aws-proxy-auth=t`;
    expect(parseConnectionString(text)).toEqual({
      host: "h",
      port: 443,
      useTls: true,
      token: "a=b",
      userId: "me",
      sessionId: id,
      userAgent: "job 1",
      headers: { "x-aws-proxy-auth": "t" },
    });
  });

  it("uses TLS with a token, unless told otherwise", () => {
    expect(parseConnectionString("sc://h/;token=t").useTls).toBe(true);
    expect(parseConnectionString("sc://h/;token=t;use_ssl=false").useTls).toBe(false);
    expect(parseConnectionString("sc://h/;use_ssl=TRUE").useTls).toBe(true);
  });

  it("reads IPv6, a value with '=' and a slash at the end", () => {
    expect(parseConnectionString("sc://[::1]:15002/")).toMatchObject({ host: "[::1]", port: 15002 });
    expect(parseConnectionString("sc://h/;token=abc==").token).toBe("abc==");
  });

  it.each([
    ["http://h", "expected sc://"],
    ["sc://", "expected a host"],
    ["sc://h:99999", "port"],
    ["sc://h:0", "port"],
    ["sc://h:x", "expected a host"],
    ["sc://h/path", "path"],
    ["sc://h/;token", "without a name"],
    ["sc://h/;token=", "without a value"],
    ["sc://h/;=v", "without a name"],
    ["sc://h/;use_ssl=maybe", "use_ssl"],
    ["sc://h/;session_id=1", "session_id"],
    ["sc://h/;a=1;a=2", "twice"],
    ["sc://h/;token=%zz", "%"],
    ["sc://h/;bad name=1", "header"],
  ])("refuses %s", (text, problem) => {
    expect(() => parseConnectionString(text)).toThrow(SparkConnectError);
    expect(() => parseConnectionString(text)).toThrow(problem);
  });

  it("does not quote a secret", () => {
    const parse = () => parseConnectionString("sc://h/;token=hunter2;use_ssl=hunter3");
    expect(parse).toThrow(/^(?!.*hunter).*$/s);
  });
});
