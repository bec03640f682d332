// Draws the page: the form to sign in, or what an operator sees.
import { html, render } from "../html.js";
import { App } from "./app.js";
import { Session } from "./session.js";

const page = document.getElementById("page");
page.replaceChildren();
render(html`<${App} session=${new Session(new URL("./", location.href))} />`, page);
