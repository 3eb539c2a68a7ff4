// A plant's server by node-opcua, for test_node_opcua.py. `node node_server.cjs <port> <folder for keys>`; obeys lines of standard
// input: `write <number> <ISO time> <status>`, and says `ready` and `done`. NODE_PATH tells where node-opcua-server is installed.
"use strict";
const path = require("node:path");
const readline = require("node:readline");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { OPCUAServer } = require("node-opcua-server");
const { MessageSecurityMode, SecurityPolicy } = require("node-opcua-secure-channel");
const { DataType } = require("node-opcua-variant");
const { StatusCodes } = require("node-opcua-status-code");

const [port, folder] = process.argv.slice(2);

async function main() {
  const keys = (name) => new OPCUACertificateManager({ rootFolder: path.join(folder, name), automaticallyAcceptUnknownCertificate: true });
  const server = new OPCUAServer({
    port: Number(port),
    hostname: "127.0.0.1",
    serverCertificateManager: keys("server"),
    userCertificateManager: keys("users"),
    securityModes: [MessageSecurityMode.SignAndEncrypt],
    securityPolicies: [SecurityPolicy.Basic256Sha256],
    userManager: { isValidUser: (name, password) => name === "platform" && password === "plant-secret" },
    allowAnonymous: false,
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const plant = space.registerNamespace("http://node-opcua.example/");
  const variable = plant.addVariable({
    organizedBy: space.rootFolder.objects,
    nodeId: "s=Temperature",
    browseName: "Temperature",
    dataType: "Double",
    minimumSamplingInterval: 50,
  });
  variable.setValueFromSource({ dataType: DataType.Double, value: 20.0 });
  await server.start();
  console.log("ready");
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [, number, time, status] = line.split(" ");
    variable.setValueFromSource({ dataType: DataType.Double, value: Number(number) }, StatusCodes[status], new Date(time));
    console.log("done");
  }
  await server.shutdown(0);
}

main();
