// What an operator can do. Each action says in its dialog what will happen; the server records it in the audit.
import { html } from "../html.js";
import { CopyButton } from "../code.js";
import { plural, visible, when } from "./format.js";

const REASON = { name: "reason", label: "Reason, for the audit" };
const RECORDED = "The action is recorded in the audit with your name.";
const SPANS = [
  ["3600", "1 hour"],
  ["86400", "1 day"],
  ["604800", "7 days"],
  ["2592000", "30 days"],
  ["time", "until a time"],
];
const until = { name: "until", label: "Until", kind: "datetime-local", required: true, when: (values) => values.span === "time" };

// A time of `datetime-local` is in the zone of this computer.
const readTime = (text) => (text ? new Date(text).toISOString() : undefined);
const given = (body) => Object.fromEntries(Object.entries(body).filter(([, value]) => value !== undefined && value !== "" && value !== null));
const at = (system, verb) => `systems/${encodeURIComponent(system)}/${verb}`;
const split = (text) => text.split(/[\s,]+/).filter(Boolean);
// Texts around ids: the ids are text of strangers.
const name = (text) => html`<bdi class="id">${visible(text)}</bdi>`;

const disconnect = (session, system, target, title, effects) => ({
  title,
  effects: [...effects, "Official clients do not return by themselves; a user who reloads the page can connect again.", RECORDED],
  fields: [REASON],
  submit: "Disconnect",
  danger: true,
  run: ({ reason }) => session.post(at(system, "disconnect"), given({ ...target, reason })),
  done: () => "Disconnected.",
});

export const disconnectUser = (session, system, user) =>
  disconnect(session, system, { user }, html`Disconnect ${name(user)}?`, ["All connections of this user end, on all nodes."]);

export const disconnectSocket = (session, system, socket, user) =>
  disconnect(session, system, { socket }, "Disconnect this socket?", [html`The connection of ${name(user)} with the socket ${name(socket)} ends. Other connections of the user stay.`]);

export const disconnectRoom = (session, system, namespace, room, sockets) =>
  disconnect(session, system, { room, namespace }, html`Disconnect everyone in ${name(room)}?`, [`${plural(sockets, "socket")} in this room, on all nodes: their connections end.`]);

export const disconnectEveryone = (session, system) =>
  disconnect(session, system, { everyone: true }, html`Disconnect everyone of ${name(system)}?`, ["All connections of this system end, on all nodes."]);

export const removeFromRoom = (session, system, namespace, user, room) => ({
  title: html`Remove ${name(user)} from the room?`,
  effects: [
    html`All sockets of the user leave ${name(room)}, and receive its events no longer. The connections stay.`,
    "A client that has the right can join again: end the membership or block the user to prevent that.",
    RECORDED,
  ],
  fields: [REASON],
  submit: "Remove from the room",
  danger: true,
  run: ({ reason }) => session.post(at(system, "remove"), given({ user, room, namespace, reason })),
  done: () => "Removed from the room.",
});

export const block = (session, system, user = "") => ({
  title: user ? html`Block ${name(user)}?` : html`Block a user of ${name(system)}`,
  effects: ["All connections of the user end, on all nodes.", "Until the block ends, each attempt to connect is refused.", RECORDED],
  fields: [
    ...(user ? [] : [{ name: "user", label: "User's id", required: true, max: 128 }]),
    { name: "span", label: "For how long", options: SPANS, value: "3600" },
    until,
    REASON,
  ],
  submit: "Block",
  danger: true,
  run: (values) => {
    const end = values.span === "time" ? { until: readTime(values.until) } : { seconds: Number(values.span) };
    return session.post(at(system, "block"), given({ user: user || values.user, ...end, reason: values.reason }));
  },
  done: (answer) => `Blocked until ${when(answer.until)}.`,
});

export const revokeUser = (session, system, user) => ({
  title: html`Revoke the tokens of ${name(user)}?`,
  effects: [
    "All tokens of the user that were issued until now are refused, on all nodes, and their connections end.",
    "With a new token the user can connect again.",
    RECORDED,
  ],
  fields: [REASON],
  submit: "Revoke",
  danger: true,
  run: ({ reason }) => session.post(at(system, "revoke"), given({ user, reason })),
  done: (answer) => `Revoked: kept until ${when(answer.until)}.`,
});

export const revokeToken = (session, system, token) => ({
  title: "Revoke this token?",
  effects: [html`The token with the id ${name(token)} is refused, on all nodes, and its connections end. Other tokens of the user stay valid.`, RECORDED],
  fields: [REASON],
  submit: "Revoke",
  danger: true,
  run: ({ reason }) => session.post(at(system, "revoke"), given({ token, reason })),
  done: (answer) => `Revoked: kept until ${when(answer.until)}.`,
});

export const revoke = (session, system, roles) => ({
  title: html`Revoke tokens of ${name(system)}`,
  effects: ["The tokens that fit are refused, on all nodes, and their connections end.", "With a token that is issued later, users can connect again.", RECORDED],
  fields: [
    {
      name: "kind",
      label: "Which tokens",
      options: [
        ["user", "those of a user"],
        ["role", "those with a role"],
        ["token", "one, by its id (claim jti)"],
      ],
      value: "user",
    },
    { name: "role", label: "Role", options: roles.map((role) => [role, role]), value: roles[0], when: ({ kind }) => kind === "role" },
    { name: "subject", label: "Id", required: true, max: 300, when: ({ kind }) => kind !== "role" },
    { name: "before", label: "Issued before (now, if empty)", kind: "datetime-local", when: ({ kind }) => kind !== "token" },
    REASON,
  ],
  submit: "Revoke",
  danger: true,
  run: ({ kind, role, subject, before, reason }) =>
    session.post(at(system, "revoke"), given({ [kind]: kind === "role" ? role : subject, before: kind === "token" ? undefined : readTime(before), reason })),
  done: (answer) => `Revoked: kept until ${when(answer.until)}.`,
});

export const lift = (session, { system, kind, subject }) => ({
  title: kind === "block" ? html`End the block of ${name(subject)}?` : html`Accept these tokens again: ${name(subject)}?`,
  effects: [kind === "block" ? "The user can connect again at once." : "Tokens that have not ended are accepted again at once.", RECORDED],
  fields: [REASON],
  submit: kind === "block" ? "End the block" : "Accept again",
  run: ({ reason }) => (kind === "block" ? session.post(at(system, "unblock"), given({ user: subject, reason })) : session.post(at(system, "restore"), given({ [kind]: subject, reason }))),
  done: () => (kind === "block" ? "The block has ended." : "The tokens are accepted again."),
});

export const resend = (session, system, event, user = "") => ({
  title: "Send this event again?",
  effects: [
    html`${name(event.name)} is published again with the same data, and gets a new position.`,
    event.rooms.length ? html`It goes to ${event.rooms.map((room, index) => html`${index > 0 && ", "}${name(room)}`)}.` : "It goes to all clients in the namespace.",
    "Clients that have received it receive it once more. With a user, only this user's sockets in these rooms receive it.",
    RECORDED,
  ],
  fields: [{ name: "user", label: "Only to the user with this id", value: user, max: 128 }, REASON],
  submit: "Send again",
  run: (values) => session.post(at(system, "resend"), given({ position: event.position, user: values.user, reason: values.reason })),
  done: ({ position, sockets }) => `Sent again at position ${position}${sockets === null ? "" : `, to ${plural(sockets, "socket")}`}.`,
});

export const announce = (session, systems) => ({
  title: "Announce maintenance",
  effects: ["All connected clients of the system receive the event oyez:maintenance with this text and these times.", "Nobody is disconnected.", RECORDED],
  fields: [
    { name: "system", label: "System", options: systems.map((system) => [system.name, system.name]), value: systems[0]?.name },
    { name: "message", label: "Message", kind: "area", required: true },
    { name: "at", label: "Begins", kind: "datetime-local" },
    { name: "until", label: "Ends", kind: "datetime-local" },
  ],
  submit: "Announce",
  run: (values) => session.post(at(values.system, "announce"), given({ message: values.message, at: readTime(values.at), until: readTime(values.until) })),
  done: () => "Announced.",
});

export const sendDead = (session, system, receiver, dead) => ({
  title: dead ? "Send this webhook again?" : "Send all dead letters again?",
  effects: [
    html`The receiver ${name(receiver)} is sent ${dead ? html`${name(dead.event)} (${name(dead.id)})` : "everything that was given up"}, with the same ids.`,
    RECORDED,
  ],
  submit: "Send again",
  run: () => session.post(`${at(system, "webhooks")}/${encodeURIComponent(receiver)}/replay`, dead ? { ids: [dead.id] } : {}),
  done: (answer) => `${plural(answer.count, "webhook")} will be sent again.`,
});

export const makeKey = (session, systems) => ({
  title: "Make a service key",
  effects: ["A back end that has the key can publish, within the limits below.", "The key is shown once, here. Oyez keeps only its hash.", RECORDED],
  fields: [
    { name: "name", label: "Name", required: true, max: 64, hint: "billing" },
    { name: "systems", label: "Systems, separated by spaces", required: true, value: systems.length === 1 ? systems[0].name : "" },
    { name: "events", label: "Only these events (order:* stands for all that begin so)" },
    { name: "webhooks", label: "It may keep receivers of webhooks too", kind: "checkbox" },
    { name: "until", label: "Valid until", kind: "datetime-local" },
  ],
  submit: "Make the key",
  run: (values) => session.post("keys", given({ name: values.name, systems: split(values.systems), events: split(values.events), webhooks: values.webhooks, until: readTime(values.until) })),
  done: (answer) => `The key ${answer.name} was made.`,
  result: (answer) => html`<p>Copy the key now: it is not shown again.</p>
    <p class="made-key"><code>${answer.key}</code> <${CopyButton} text=${answer.key} label="Copy the key" shown="Copy" /></p>`,
});

export const revokeKey = (session, key) => ({
  title: html`Revoke the key ${name(key.name)}?`,
  effects: ["Each request with this key is refused from now on, on all nodes.", "This cannot be undone: make a new key if it is needed again.", RECORDED],
  submit: "Revoke the key",
  danger: true,
  run: () => session.remove(`keys/${encodeURIComponent(key.id)}`),
  done: () => "The key is revoked.",
});
