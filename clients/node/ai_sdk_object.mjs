// An object of a given schema about a picture, through Vercel's AI SDK.

import { readFile } from "node:fs/promises";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject } from "ai";
import { z } from "zod";

const url = process.env.PANDAGPT_URL ?? "http://127.0.0.1:8000";
const panda = createOpenAICompatible({
  name: "pandagpt",
  baseURL: `${url}/v1`,
  apiKey: process.env.PANDAGPT_API_KEY ?? "none",
  supportsStructuredOutputs: true,
});
const picture = new URL("../../server/pandagpt/samples/red_car.png", import.meta.url);
const content = [
  { type: "image", image: await readFile(picture) },
  { type: "text", text: "What is this?" },
];
const { object } = await generateObject({
  // An empty id is the served model.
  model: panda(process.env.PANDAGPT_MODEL ?? ""),
  schema: z.object({ thing: z.enum(["bird", "car", "frog"]), colour: z.enum(["red", "green"]) }),
  messages: [{ role: "user", content }],
  temperature: 0,
});
console.log(JSON.stringify(object));
