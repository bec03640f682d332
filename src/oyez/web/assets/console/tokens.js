// Tokens: where a contract wants them, what is in one, and new ones of a server in development.

// In which part of a connection the token goes: `auth` if the contract allows it, because no proxy logs that.
export const placeToken = (sources, token) => {
  if (!token) return {};
  const find = (kind) => sources.find((source) => source.kind === kind);
  const auth = find("auth");
  if (auth) return { auth: { [auth.name]: token } };
  if (find("bearer")) return { headers: { Authorization: `Bearer ${token}` } };
  const header = find("header");
  if (header) return { headers: { [header.name]: token } };
  const query = find("query");
  return query ? { query: { [query.name]: token } } : {};
};

// What a token says about its user; nothing if it is no JWT. It is not verified here: the server does that.
export const readToken = (token) => {
  try {
    const payload = token.split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (letter) => letter.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    return claims && typeof claims === "object" ? claims : null;
  } catch {
    return null;
  }
};

export const askForToken = async (base, wanted) => {
  const answer = await fetch(new URL("docs/token", base), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(wanted),
  });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(explainProblem(body, answer.status));
  return body.token;
};

export const explainProblem = (problem, status) => {
  const fields = (problem.errors ?? []).map(({ index, field, expected, detail }) => {
    const place = [index === undefined ? "" : `event ${index}`, field].filter(Boolean).join(", ");
    return [place, expected ?? detail].filter(Boolean).join(": ");
  });
  return [`${status}${problem.code ? ` ${problem.code}` : ""}: ${problem.detail ?? problem.title ?? "no reason given"}`, ...fields].join("\n");
};
