// Ollama's JavaScript client, unchanged; its host is given by hand, as its documentation says.
// Usage: node ollama.mjs CASE MODEL. Prints what was seen, or throws.
import { Ollama } from "ollama";

const client = new Ollama({ host: process.env.OLLAMA_HOST });
const [name, model] = process.argv.slice(-2);
const messages = [{ role: "user", content: "What is gravity?" }];
const options = { temperature: 0, seed: 1, num_predict: 24 };
const format = {
  type: "object",
  properties: { answer: { type: "string", maxLength: 20 } },
  required: ["answer"],
  additionalProperties: false,
};
const tool = {
  type: "function",
  function: { name: "weather", description: "Tells it", parameters: { type: "object", properties: { city: { type: "string" } } } },
};

const cases = {
  async models() {
    console.log((await client.list()).models.map((found) => found.name).join(","));
  },
  async chat() {
    const answer = await client.chat({ model, messages, options });
    if (!answer.done || !(answer.eval_count > 0)) throw new Error("not complete");
    console.log(answer.message.content.trim());
  },
  async stream() {
    let text = "";
    for await (const piece of await client.chat({ model, messages, options, stream: true })) text += piece.message.content;
    console.log(text.trim());
  },
  async generate() {
    console.log((await client.generate({ model, prompt: "What is gravity?", options })).response.length > 0);
  },
  async schema() {
    const answer = await client.chat({ model, messages, format, options: { ...options, num_predict: 200 } });
    console.log(Object.keys(JSON.parse(answer.message.content)).join());
  },
  async tools() {
    const [call] = (await client.chat({ model, messages, tools: [tool] })).message.tool_calls;
    console.log(call.function.name, JSON.stringify(call.function.arguments));
  },
  async show() {
    console.log((await client.show({ model })).capabilities.join());
  },
  async embedding() {
    const answer = await client.embed({ model, input: ["gravity", "light"] });
    console.log(answer.embeddings.length, answer.embeddings[0].length === answer.embeddings[1].length);
  },
  async managing() {
    await client.pull({ model }).catch((error) => console.log(error.status_code));
  },
  async lapse() {
    let count = 0;
    try {
      for await (const piece of await client.chat({ model, messages, stream: true })) {
        if (piece.message.content && count++ === 0) console.log("first");
      }
      console.log("complete");
    } catch (error) {
      console.log(`raised ${error.constructor.name}`);
    }
  },
};

await cases[name]();
