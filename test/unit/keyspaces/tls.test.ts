import type { PeerCertificate } from "node:tls";
import { describe, expect, test } from "vitest";
import { tlsOptions } from "../../../lib/keyspaces/tls.js";

const certificate = (subjectaltname: string, CN = "x") => ({ subject: { CN }, subjectaltname }) as PeerCertificate;

describe("a certificate of a node", () => {
  const endpoint = "cassandra.eu-central-1.amazonaws.com";
  const check = (contactPoints: readonly string[], names: string) =>
    tlsOptions({ contactPoints }).checkServerIdentity?.("10.0.0.7", certificate(names));

  test("must name a contact point, whatever the address of the node is", () => {
    expect(check([endpoint], `DNS:${endpoint}`)).toBeUndefined();
    expect(check(["a.example", "b.example"], "DNS:b.example")).toBeUndefined();
    expect(check(["a.shop.example"], "DNS:*.shop.example")).toBeUndefined();
    expect(check(["10.0.0.1"], "IP Address:10.0.0.1")).toBeUndefined();
  });

  test("of another host is refused, also when it is of the node's own address", () => {
    expect(check([endpoint], "DNS:evil.example")).toMatchObject({ code: "ERR_TLS_CERT_ALTNAME_INVALID" });
    expect(check([endpoint], "DNS:cassandra.eu-west-1.amazonaws.com")).toBeInstanceOf(Error);
    expect(check([endpoint], "IP Address:10.0.0.7")).toBeInstanceOf(Error);
    expect(check([], `DNS:${endpoint}`)).toBeInstanceOf(Error);
  });

  test("is asked for by name, never by address", () => {
    expect(tlsOptions({ contactPoints: ["10.0.0.1"] })).not.toHaveProperty("servername");
    expect(tlsOptions({ contactPoints: ["10.0.0.1", "b.example"] })).toMatchObject({ servername: "b.example" });
  });
});
