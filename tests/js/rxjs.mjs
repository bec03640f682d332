// RxJS' fromEvent on the official client: prints what the observable emits for each stored event, one JSON line each.
import { fromEvent } from "rxjs";
import { io } from "socket.io-client";

const [url, path, token] = process.argv.slice(2);
const socket = io(url, { path, auth: { token }, reconnectionDelay: 10 });
const print = (value) => process.stdout.write(JSON.stringify(value) + "\n");

fromEvent(socket, "connect").subscribe(() => print({ connected: socket.recovered }));
fromEvent(socket, "order").subscribe(print);
// The network is gone for a moment whenever a volatile event comes.
fromEvent(socket, "typing").subscribe(() => setTimeout(() => socket.io.engine.close()));
