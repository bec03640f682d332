// What an acknowledgement means, in the form that the contract gives to it.

export const hasSucceeded = (form, args) => {
  const [answer] = args;
  if (form.failure !== null && !form.node_style) {
    // One form, or those of several arguments; a constant is a list too.
    const first = form.failure.length > 1 && typeof form.failure !== "string" ? form.failure[0] : form.failure;
    return typeof first === "string" ? typeof answer !== "string" : answer !== first[0].const;
  }
  if (form.empty && !args.length) return true;
  if (form.node_style) return answer === null || answer === undefined;
  const isObject = answer !== null && typeof answer === "object";
  if (form.flag !== null) return isObject && answer[form.flag] === form.values[0];
  return !isObject || !(form.error in answer);
};

// The codes anywhere in a failure, with what they mean. Their place depends on the contract.
export const findRefusals = (refusals, args) => {
  const values = new Set();
  const collect = (value) => {
    if (value && typeof value === "object") Object.values(value).forEach(collect);
    else values.add(value);
  };
  collect(args);
  return refusals.filter((refusal) => values.has(refusal.client_code) && refusal.client_code !== "");
};

const findMessage = (value) => {
  if (!value || typeof value !== "object") return null;
  if (typeof value.message === "string") return value.message;
  return Object.values(value).reduce((found, inner) => found ?? findMessage(inner), null);
};

// A failure in words: its own message, otherwise those of its codes in the contract.
export const explain = (form, refusals, args) => {
  const error = args[0]?.[form.error];
  const message = findMessage(args) ?? (typeof error === "string" && !refusals.length ? error : null);
  const messages = message ? [message] : refusals.map((refusal) => refusal.client_message);
  return [...messages, refusals.some((refusal) => refusal.temporary) && "Temporary: try again later."].filter(Boolean);
};
