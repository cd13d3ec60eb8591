// OpenAI's JavaScript client, unchanged: base URL, key and CA come from the environment.
// Usage: node openai.mjs CASE MODEL. Prints what was seen, or throws.
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const [name, model] = process.argv.slice(-2);
const messages = [{ role: "user", content: "What is gravity?" }];
const settled = { model, messages, temperature: 0, seed: 1, max_tokens: 24 };
const schema = {
  type: "object",
  properties: { answer: { type: "string", maxLength: 20 } },
  required: ["answer"],
  additionalProperties: false,
};
const tool = {
  type: "function",
  function: { name: "weather", parameters: { type: "object", properties: { city: { type: "string" } } } },
};

const cases = {
  async models() {
    const names = [];
    for await (const found of client.models.list()) names.push(found.id);
    console.log(names.join(","));
  },
  async chat() {
    const answer = await client.chat.completions.create(settled);
    if (!(answer.usage.completion_tokens > 0)) throw new Error("no usage");
    console.log(answer.choices[0].message.content.trim());
  },
  async stream() {
    let text = "";
    for await (const piece of await client.chat.completions.create({ ...settled, stream: true })) {
      if (piece.usage) throw new Error("usage that nobody asked for");
      text += piece.choices[0]?.delta.content ?? "";
    }
    console.log(text.trim());
  },
  async schema() {
    const response_format = { type: "json_schema", json_schema: { name: "answer", schema, strict: true } };
    const answer = await client.chat.completions.create({ ...settled, max_tokens: 200, response_format });
    console.log(Object.keys(JSON.parse(answer.choices[0].message.content)).join());
  },
  async tools() {
    const answer = await client.chat.completions.create({ model, messages, tools: [tool] });
    const [call] = answer.choices[0].message.tool_calls;
    console.log(call.function.name, call.function.arguments, answer.choices[0].finish_reason);
  },
  async embedding() {
    const answer = await client.embeddings.create({ model, input: ["gravity", "light"] });
    console.log(answer.data.length, answer.data[0].embedding.length === answer.data[1].embedding.length);
  },
  async lapse() {
    let count = 0;
    try {
      for await (const piece of await client.chat.completions.create({ model, messages, stream: true })) {
        if (piece.choices[0]?.delta.content && count++ === 0) console.log("first");
      }
      console.log("complete");
    } catch (error) {
      console.log(`raised ${error.constructor.name}`);
    }
  },
};

await cases[name]();
