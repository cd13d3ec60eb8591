// gRPC's own library for Node, which reads the .proto files in PROTOS itself.
// Usage: node grpc.mjs CASE MODEL. Prints what was seen, or throws. GATEWAY is host and port.
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [name, model] = process.argv.slice(-2);
const files = loader.loadSync("cube/inference/v1/inference.proto", {
  includeDirs: [process.env.PROTOS],
  enums: String,
  oneofs: true,
});
const { InferenceService, ModelService } = grpc.loadPackageDefinition(files).cube.inference.v1;
const ca = grpc.credentials.createSsl(readFileSync(process.env.SSL_CERT_FILE));
const inference = new InferenceService(process.env.GATEWAY, ca);
const unary = (client, method) => promisify(client[method].bind(client));

const settled = {
  model,
  messages: [{ role: "ROLE_USER", content: [{ text: "What is gravity?" }] }],
  sampling: { temperature: 0, seed: 1, maxTokens: 24 },
};
const schema = {
  type: "object",
  properties: { answer: { type: "string", maxLength: 20 } },
  required: ["answer"],
  additionalProperties: false,
};
const text = (message) => message.content.map((part) => part.text).join("").trim();
// The code, and the reason, which stands in the details' bytes as it is.
const reason = (error) => {
  const details = error.metadata.get("grpc-status-details-bin")[0].toString("latin1");
  return `${grpc.status[error.code]} ${details.match(/ErrorInfo[^A-Z]*([A-Z_]+)/)[1]}`;
};

// Each with the next number.
async function* events(more = {}) {
  let sequence = 0;
  for await (const { event } of inference.StreamChat({ spec: { ...settled, ...more } })) {
    if (Number(event.sequence ?? 0) !== sequence++) throw new Error("an event is missing");
    yield event;
  }
}

const cases = {
  async models() {
    const models = new ModelService(process.env.GATEWAY, ca);
    const answer = await unary(models, "ListModels")({});
    console.log(answer.models.map((found) => found.name.replace("models/", "")).join());
  },
  async chat() {
    const answer = await unary(inference, "Chat")({ spec: settled });
    if (!(answer.usage.completionTokens > 0)) throw new Error("no usage");
    console.log(text(answer.message));
  },
  async stream() {
    const seen = [];
    for await (const event of events()) seen.push(event);
    const kinds = seen.map((event) => event.event);
    if (kinds[0] !== "started" || kinds.slice(-2).join() !== "finished,usage") throw new Error(kinds.join());
    console.log(seen.map((event) => event.text?.text ?? "").join("").trim());
  },
  async schema() {
    const responseFormat = { jsonSchema: { name: "answer", schema: JSON.stringify(schema) } };
    const sampling = { ...settled.sampling, maxTokens: 200 };
    const answer = await unary(inference, "Chat")({ spec: { ...settled, sampling, responseFormat } });
    console.log(Object.keys(JSON.parse(text(answer.message))).join());
  },
  async tools() {
    let called = "";
    for await (const event of events({ tools: [{ name: "weather", parametersJsonSchema: '{"type":"object"}' }] })) {
      called += event.toolCallStarted?.name ?? event.toolCallDelta?.arguments ?? "";
    }
    console.log(called);
  },
  async completion() {
    const spec = { model, prompt: "Gravity is", sampling: { temperature: 0, maxTokens: 8 } };
    const answer = await unary(inference, "Complete")({ spec });
    console.log(answer.text.length > 0);
  },
  async embedding() {
    const { embeddings } = await unary(inference, "Embed")({ model, inputs: ["gravity", "light"] });
    console.log(embeddings.length, embeddings[0].values.length === embeddings[1].values.length);
  },
  async refused() {
    console.log(await unary(inference, "Chat")({ spec: settled }).catch(reason));
  },
  async deadline() {
    const call = promisify((done) => inference.Chat({ spec: settled }, { deadline: Date.now() + 1000 }, done));
    console.log(await call().catch((error) => grpc.status[error.code]));
  },
  async lapse() {
    try {
      for await (const event of events()) {
        if (event.text) console.log("first");
      }
      console.log("complete");
    } catch (error) {
      console.log(`raised ${reason(error)}`);
    }
  },
};

await cases[name]();
process.exit();
