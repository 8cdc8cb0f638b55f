// The same through Vercel's AI SDK, with its provider for OpenAI-compatible servers.

import { readFile } from "node:fs/promises";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, streamText } from "ai";

const url = process.env.PANDAGPT_URL ?? "http://127.0.0.1:8000";
const apiKey = process.env.PANDAGPT_API_KEY ?? "none";
const panda = createOpenAICompatible({ name: "pandagpt", baseURL: `${url}/v1`, apiKey, includeUsage: true });
const { data: models } = await (
  await fetch(`${url}/v1/models`, { headers: { authorization: `Bearer ${apiKey}` } })
).json();
// The last one embeds.
const [model, embeddingModel] = [models[0].id, models.at(-1).id];

const samples = new URL("../../server/pandagpt/samples/", import.meta.url);
const picture = { type: "image", image: await readFile(new URL("red_car.png", samples)) };
const sound = {
  type: "file",
  mediaType: "audio/wav",
  data: await readFile(new URL("frog.wav", samples)),
};

function ask(medium, text) {
  const content = [medium, { type: "text", text }];
  return {
    model: panda(model),
    messages: [{ role: "user", content }],
    temperature: 0,
    maxOutputTokens: 32,
  };
}

console.log((await generateText(ask(picture, "What is this?"))).text);

const heard = streamText(ask(sound, "What can you hear?"));
for await (const text of heard.textStream) process.stdout.write(text);
console.log(`\n${(await heard.usage).totalTokens} tokens`);

const values = ["a frog", "a car"];
const { embeddings } = await embedMany({ model: panda.embeddingModel(embeddingModel), values });
console.log(`${embeddings.length} vectors of ${embeddings[0].length} numbers`);
