// What components are written with: htm's tagged templates, and hooks. Text in a template is never parsed as HTML.
import { h } from "preact";
import htm from "htm";

export { render, Fragment } from "preact";
export { useEffect, useMemo, useRef, useState } from "preact/hooks";

export const html = htm.bind(h);
