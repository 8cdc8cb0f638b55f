// Pictures, sounds and embeddings through OpenAI's own client: only `baseURL` is ours.

import { readFile } from "node:fs/promises";
import OpenAI from "openai";

const url = process.env.PANDAGPT_URL ?? "http://127.0.0.1:8000";
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: process.env.PANDAGPT_API_KEY ?? "none" });
const models = (await client.models.list()).data.map(({ id }) => id);
// The last one embeds.
const [model, embeddingModel] = [models[0], models.at(-1)];

const samples = new URL("../../server/pandagpt/samples/", import.meta.url);
const base64 = async (name) => (await readFile(new URL(name, samples))).toString("base64");
const picture = {
  type: "image_url",
  image_url: { url: `data:image/png;base64,${await base64("red_car.png")}` },
};
const sound = { type: "input_audio", input_audio: { data: await base64("frog.wav"), format: "wav" } };

function ask(medium, text) {
  const content = [medium, { type: "text", text }];
  return { model, messages: [{ role: "user", content }], temperature: 0, max_tokens: 32 };
}

const answer = await client.chat.completions.create(ask(picture, "What is this?"));
console.log(answer.choices[0].message.content);

const stream = await client.chat.completions.create({
  ...ask(sound, "What can you hear?"),
  stream: true,
  stream_options: { include_usage: true },
});
for await (const { choices, usage } of stream) {
  process.stdout.write(choices[0]?.delta.content ?? "");
  if (usage) console.log(`\n${usage.prompt_tokens_details.audio_tokens} token of sound`);
}

const { data } = await client.embeddings.create({ model: embeddingModel, input: ["a frog", "a car"] });
console.log(`${data.length} vectors of ${data[0].embedding.length} numbers`);
