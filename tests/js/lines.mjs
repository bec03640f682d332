// What the drivers share: a line of JSON in is a command, a line of JSON out is a report.
import { createInterface } from "node:readline";

export const report = (message) => process.stdout.write(JSON.stringify(message) + "\n");

const isOnly = (value, key) => typeof value[key] === "string" && Object.keys(value).length === 1;

// Buffers travel as {"base64": ...} in both directions, and a Date comes as {"moment": ...}.
export const pack = (value) => {
  if (Buffer.isBuffer(value)) return { base64: value.toString("base64") };
  if (Array.isArray(value)) return value.map(pack);
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, pack(item)]));
  }
  return value;
};

export const unpack = (value) => {
  if (Array.isArray(value)) return value.map(unpack);
  if (value && typeof value === "object") {
    if (isOnly(value, "base64")) return Buffer.from(value.base64, "base64");
    if (isOnly(value, "moment")) return new Date(value.moment);
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, unpack(item)]));
  }
  return value;
};

// Runs until standard input ends.
export const execute = (commands) =>
  createInterface({ input: process.stdin })
    .on("line", async (line) => {
      const { id, command, ...rest } = JSON.parse(line);
      try {
        report({ id, result: (await commands[command](rest)) ?? null });
      } catch (error) {
        report({ id, error: error.stack ?? error.message });
      }
    })
    .on("close", () => process.exit(0));
