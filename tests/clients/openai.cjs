// What OpenAI's JavaScript client gets: `node openai.cjs ADDRESS TASK` does one thing and prints what came of it as JSON.
const { OpenAI } = require("openai");

const [address, task] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${address}/v1`, apiKey: "none", maxRetries: 0 });
const model = "smollm2-135m-instruct";
const question = [{ role: "user", content: "What is the capital city of France? Answer in one sentence." }];
const weather = [{ role: "user", content: "What is the weather in Paris?" }];
const parameters = {
  type: "object",
  properties: { city: { enum: ["Paris", "Rome"] }, unit: { enum: ["C", "F"] } },
  required: ["city", "unit"],
  additionalProperties: false,
};
const tool = { type: "function", function: { name: "get_weather", parameters } };
const plain = { model, messages: question, temperature: 0, max_tokens: 24 };

async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    const { status, code, param } = error;
    return { kind: error.constructor.name, status, code, param };
  }
  return null;
}

const tasks = {
  async chat() {
    const answer = await client.chat.completions.create(plain);
    return { text: answer.choices[0].message.content, usage: answer.usage };
  },
  async stream() {
    const stream = await client.chat.completions.create({
      ...plain, stream: true, stream_options: { include_usage: true },
    });
    let text = "", usage = null;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.delta?.content ?? "";
      usage = chunk.usage ?? usage;
    }
    return { text, usage };
  },
  async accumulated() {
    const runner = client.chat.completions.stream(plain);
    return { text: await runner.finalContent() };
  },
  async schema() {
    const answer = await client.chat.completions.create({
      ...plain, messages: weather, max_tokens: 64,
      response_format: { type: "json_schema", json_schema: { name: "report", schema: parameters } },
    });
    return JSON.parse(answer.choices[0].message.content);
  },
  async tools() {
    const asked = { ...plain, messages: weather, tools: [tool], tool_choice: "required", max_tokens: 96 };
    const whole = (await client.chat.completions.create(asked)).choices[0];
    const runner = client.chat.completions.stream(asked);
    const streamed = (await runner.finalChatCompletion()).choices[0];
    return [whole, streamed].map((choice) => ({
      reason: choice.finish_reason,
      calls: choice.message.tool_calls.map(({ function: called }) => [called.name, JSON.parse(called.arguments)]),
    }));
  },
  async completions() {
    const answer = await client.completions.create({
      model, prompt: "The capital of France is", temperature: 0, max_tokens: 8,
    });
    return { text: answer.choices[0].text };
  },
  async embeddings() {
    const input = ["A cat sleeps."];
    const packed = await client.embeddings.create({ model, input });
    const floats = await client.embeddings.create({ model, input, encoding_format: "float" });
    return [packed, floats].map((answer) => answer.data[0].embedding);
  },
  async responses() {
    const asked = { model, input: question, temperature: 0, max_output_tokens: 24 };
    const whole = await client.responses.create(asked);
    const kinds = [];
    let text = "";
    for await (const event of await client.responses.create({ ...asked, stream: true })) {
      kinds.push(event.type);
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    const accumulated = await client.responses.stream(asked).finalResponse();
    return { whole: whole.output_text, text, accumulated: accumulated.output_text, kinds };
  },
  async models() {
    const names = [];
    for await (const each of client.models.list()) names.push(each.id);
    return { names, one: (await client.models.retrieve(model)).id };
  },
  async errors() {
    return {
      missing: await refused(client.chat.completions.create({ ...plain, model: "nothing" })),
      bad: await refused(client.chat.completions.create({ ...plain, temperature: "hot" })),
      long: await refused(client.completions.create({ model, prompt: "word ".repeat(20000) })),
    };
  },
  async cancel() {
    const stream = await client.chat.completions.create({
      ...plain, max_tokens: 2000, stream: true, ignore_eos: true,
    });
    let chunks = 0;
    for await (const _ of stream) {
      chunks += 1;
      if (chunks === 3) break;
    }
    return { chunks };
  },
};

tasks[task]().then(
  (result) => console.log(JSON.stringify(result)),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
