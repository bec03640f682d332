// Reads the contract and draws the page.
import { html, render } from "./html.js";
import { App } from "./app.js";
import { buildModel } from "./model.js";
import { findPlace, readOptions } from "./place.js";

const FORMAT = 1;

const load = async () => {
  const answer = await fetch("contract.json");
  if (!answer.ok) throw new Error(`The server answered ${answer.status} for contract.json.`);
  const contract = await answer.json();
  if (contract.format !== FORMAT) throw new Error(`contract.json has format ${contract.format}, and this page reads ${FORMAT}. Reload the page.`);
  return contract;
};

const start = async () => {
  const page = document.getElementById("page");
  try {
    const [options, contract] = [readOptions(), await load()];
    page.replaceChildren();
    render(html`<${App} model=${buildModel(contract, findPlace(options.server, contract.name))} options=${options} />`, page);
  } catch (error) {
    page.replaceChildren();
    render(html`<p class="loading" role="alert">The page cannot be shown. ${error.message}</p>`, page);
    throw error;
  }
};

start();
