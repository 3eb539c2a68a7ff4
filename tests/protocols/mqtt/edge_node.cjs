// An edge node by the npm package sparkplug-client, for test_foreign_edge_node.py. `node edge_node.cjs <port> <password>`; obeys lines of
// standard input: `birth`, `data <metrics>`, `compressed <metrics>`, `device-data <metrics>`, `device-death`, each metrics in JSON; says
// `connected` and what it is told to do. NODE_PATH tells where sparkplug-client is installed.
"use strict";
const readline = require("node:readline");
const sparkplug = require("sparkplug-client");

const [port, password] = process.argv.slice(2);
const client = sparkplug.newClient({
  serverUrl: `mqtt://127.0.0.1:${port}`,
  username: "acme/edge-1",
  password,
  groupId: "acme",
  edgeNode: "edge-1",
  clientId: `edge-1-${process.pid}`,
  version: "spBv1.0",
});

function birth(temperature) {
  const timestamp = Date.now();
  client.publishNodeBirth({
    timestamp,
    metrics: [
      { name: "Node Control/Rebirth", type: "Boolean", value: false, timestamp },
      { name: "Temperature", alias: 1, type: "Float", value: temperature, timestamp },
      { name: "Running", alias: 2, type: "Boolean", value: true, timestamp },
      { name: "Offset", alias: 3, type: "Int32", value: -5, timestamp },
      { name: "Total", alias: 4, type: "Int64", value: -7, timestamp },
      { name: "Product", alias: 5, type: "String", value: "Grüße", timestamp },
      { name: "Nothing", alias: 6, type: "Double", value: null, timestamp },
    ],
  });
  client.publishDeviceBirth("tank", { timestamp, metrics: [{ name: "Level", alias: 7, type: "Double", value: 0.5, timestamp }] });
}

client.on("birth", () => {
  birth(20.5);
  console.log("connected");
});
client.on("ncmd", (payload) => {
  console.log(payload.metrics.map((metric) => `${metric.name}=${metric.value}`).join());
  birth(30.5);
});

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [word, metrics] = line.split(" ");
  const payload = { timestamp: Date.now(), metrics: metrics ? JSON.parse(metrics) : [] };
  if (word === "data") client.publishNodeData(payload);
  if (word === "compressed") client.publishNodeData(payload, { compress: true });
  if (word === "gzipped") client.publishNodeData(payload, { compress: true, algorithm: "GZIP" });
  if (word === "device-data") client.publishDeviceData("tank", payload);
  if (word === "device-death") client.publishDeviceDeath("tank", payload);
});
