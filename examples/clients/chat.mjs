// A chat, word by word, with nothing but fetch: node examples/clients/chat.mjs "Name three colours."
const address = process.env.VELESIO_ADDRESS ?? "http://127.0.0.1:8000";
const answer = await fetch(`${address}/v1/chat/completions`, {
  method: "POST",
  headers: { "Content-Type": "application/json", Authorization: `Bearer ${process.env.VELESIO_TOKEN ?? "none"}` },
  body: JSON.stringify({
    messages: [{ role: "user", content: process.argv[2] ?? "Name three colours." }],
    temperature: 0,
    max_tokens: 60,
    stream: true,
  }),
});
if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);

let rest = "";
for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
  const lines = (rest + piece).split("\n");
  rest = lines.pop();
  for (const line of lines) {
    if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
    process.stdout.write(JSON.parse(line.slice(6)).choices[0]?.delta.content ?? "");
  }
}
console.log();
