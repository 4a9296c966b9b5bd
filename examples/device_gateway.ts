/**
 * A gateway for devices that speak in binary frames: a length (2 bytes), a type (1 byte), and so many bytes of data.
 *
 * Run `deno run --allow-net=127.0.0.1:7000 examples/device_gateway.ts`, then
 * `printf '\0\5\2\1\102\50\0\0' | nc -N 127.0.0.1 7000 | xxd` in another terminal. In Python, `struct.unpack()` takes
 * apart what `rfile.read(3)` gives.
 */
import { parseArgs } from "@std/cli";
import {
  ConcurrentTCPServer,
  IncompleteReadError,
  StreamRequestHandler,
} from "@netkit/socketserver";

const MAX_DATA = 64; // bytes
const [PING, READING, ACK, REFUSAL] = [1, 2, 0x80, 0xff] as const;

class DeviceHandler extends StreamRequestHandler {
  override timeout = 30_000; // a device that has nothing to say pings
  override disableNagleAlgorithm = true; // small frames go out at once

  override async handle(): Promise<void> {
    try {
      while (!await this.rfile.atEnd()) {
        const head = new DataView((await this.rfile.readExactly(3)).buffer);
        const [length, type] = [head.getUint16(0), head.getUint8(2)];
        if (length > MAX_DATA) return await this.refuse(`more than ${MAX_DATA} bytes`);
        const data = new DataView((await this.rfile.readExactly(length)).buffer);
        if (type === READING && length === 5) {
          const [sensor, value] = [data.getUint8(0), data.getFloat32(1)];
          console.log(`${this.clientAddress} sensor ${sensor}: ${value}`);
        } else if (type !== PING || length > 0) return await this.refuse(`type ${type}`);
        await this.send(ACK | type);
      }
    } catch (error) {
      if (!(error instanceof IncompleteReadError)) throw error;
      await this.refuse("a frame without its end");
    }
  }

  async send(type: number, data = new Uint8Array()): Promise<void> {
    const frame = new Uint8Array(3 + data.length);
    new DataView(frame.buffer).setUint16(0, data.length);
    frame[2] = type;
    frame.set(data, 3);
    await this.wfile.write(frame); // in one write, and so in one packet
  }

  /** Says what was wrong; where the next frame would begin nobody knows, so the connection ends. */
  async refuse(what: string): Promise<void> {
    await this.send(REFUSAL, new TextEncoder().encode(`Cannot take ${what}`));
  }
}

if (import.meta.main) {
  const { port } = parseArgs(Deno.args, { string: ["port"], default: { port: "7000" } });
  const address = { hostname: "127.0.0.1", port: Number(port) };
  await using server = new ConcurrentTCPServer(address, DeviceHandler);
  const leave = () => server.drain({ timeout: 1000 });
  for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, leave);
  console.log(`Listening on ${server.serverAddress}`);
  await server.serveForever();
  console.log("Leaving.");
}
