// Passes connections on: node door.mjs <listen host:port> <to host:port>. Prints the port that it listens on.
import net from "node:net";

const [from, to] = process.argv.slice(2).map((address) => {
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
});

const server = net.createServer((client) => {
  const spark = net.connect(to);
  client.pipe(spark).pipe(client);
  client.on("error", () => spark.destroy());
  spark.on("error", () => client.destroy());
});
server.listen(from, () => console.log(`listening on ${server.address().port}`));
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit(0));
