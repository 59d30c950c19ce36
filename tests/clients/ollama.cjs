// What Ollama's JavaScript client gets: `node ollama.cjs ADDRESS TASK` does one thing and prints what came of it as JSON.
const { Ollama } = require("ollama");

const [address, task] = process.argv.slice(2);
const client = new Ollama({ host: address });
const model = "smollm2-135m-instruct";
const messages = [{ role: "user", content: "What is the capital city of France? Answer in one sentence." }];
const options = { temperature: 0, num_predict: 24 };
const parameters = {
  type: "object",
  properties: { city: { enum: ["Paris", "Rome"] }, unit: { enum: ["C", "F"] } },
  required: ["city", "unit"],
  additionalProperties: false,
};
const tool = { type: "function", function: { name: "get_weather", description: "Weather.", parameters } };
// What a model writes that calls the function; a small one does not think of it by itself.
const call = {
  type: "object",
  properties: { name: { const: "get_weather" }, arguments: parameters },
  required: ["name", "arguments"],
  additionalProperties: false,
};
const calling = {
  type: "object",
  properties: { tool_calls: { type: "array", minItems: 1, maxItems: 1, items: call } },
  required: ["tool_calls"],
  additionalProperties: false,
};

async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    return { kind: error.constructor.name, status: error.status_code, message: error.message };
  }
  return null;
}

const loaded = async () => (await client.ps()).models.map((each) => each.name);

const tasks = {
  async chat() {
    const answer = await client.chat({ model, messages, options });
    return { text: answer.message.content, tokens: answer.eval_count };
  },
  async stream() {
    let text = "", last = null;
    for await (const part of await client.chat({ model, messages, options, stream: true })) {
      text += part.message.content;
      last = part;
    }
    return { text, tokens: last.eval_count, done: last.done };
  },
  async generate() {
    const answer = await client.generate({ model, prompt: "The capital of France is", raw: true, options });
    let text = "";
    const stream = await client.generate({ model, prompt: "The capital of France is", raw: true, options, stream: true });
    for await (const part of stream) text += part.response;
    return [answer.response, text];
  },
  async schema() {
    const answer = await client.chat({ model, messages, format: parameters, options: { ...options, num_predict: 64 } });
    return JSON.parse(answer.message.content);
  },
  async tools() {
    const asked = { model, messages, tools: [tool], format: calling, options: { ...options, num_predict: 96 } };
    const whole = (await client.chat(asked)).message.tool_calls;
    const streamed = [];
    for await (const part of await client.chat({ ...asked, stream: true })) {
      streamed.push(...(part.message.tool_calls ?? []));
    }
    return [whole, streamed].map((calls) => calls.map(({ function: called }) => [called.name, called.arguments]));
  },
  async embeddings() {
    const answer = await client.embed({ model, input: ["A cat sleeps.", "A dog barks."] });
    const older = await client.embeddings({ model, prompt: "A cat sleeps." });
    return { sizes: answer.embeddings.map((vector) => vector.length), older: older.embedding.length };
  },
  async library() {
    const unloaded = (await client.generate({ model, prompt: "", keep_alive: 0 })).done_reason;
    const without = await loaded();
    const back = (await client.generate({ model, prompt: "", keep_alive: "5m" })).done_reason;
    return {
      unloaded, without, back, loaded: await loaded(),
      names: (await client.list()).models.map((each) => each.name),
      capabilities: (await client.show({ model })).capabilities,
      version: (await client.version()).version,
      pulled: (await client.pull({ model })).status,
    };
  },
  async errors() {
    return {
      missing: await refused(client.chat({ model: "llama3.2", messages })),
      think: await refused(client.chat({ model, messages, think: true })),
      deleted: await refused(client.delete({ model })),
      options: await refused(client.chat({ model, messages, options: { temperature: "hot" }, stream: true })),
    };
  },
  async leave() {
    const stream = await client.generate({
      model, prompt: "Tell me a very long story.", options: { num_predict: 2000 }, stream: true,
    });
    let parts = 0, error = "";
    try {
      for await (const part of stream) {
        parts += part.response.length > 0 ? 1 : 0;
        if (parts === 3) stream.abort();
      }
    } catch (aborted) {
      error = aborted.name;
    }
    return { parts, error };
  },
};

tasks[task]().then(
  (answer) => console.log(JSON.stringify(answer)),
  (error) => {
    console.error(error);
    process.exitCode = 1;
  },
);
