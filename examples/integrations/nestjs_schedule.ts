/**
 * Runs a scheduled method of NestJS once for each time that it is due, whatever number of hosts runs this program.
 *
 *     LOCKMGR_URL=postgres://… deno run -A examples/integrations/nestjs_schedule.ts
 *
 * In a project that compiles decorators (`experimentalDecorators`), the class below reads:
 *
 *     @Injectable()
 *     class Reports {
 *       @Cron("* * * * * *")
 *       @OncePerFire("report", 1) // below @Cron
 *       report() { … }
 *     }
 *
 * @module
 */
import "reflect-metadata";
import { tryLock } from "@lockmgr/lockmgr";
import { Injectable, Module } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { Cron, ScheduleModule } from "@nestjs/schedule";
import process from "node:process";

/**
 * Lets one host run the method each time that it is due. The name of the lock has the time in it, and it is not released,
 * so a host with a late clock does not run the method again.
 *
 * @param period Seconds between two times; the clocks of the hosts may differ by less than half of it.
 */
export function OncePerFire(name: string, period: number): MethodDecorator {
  return (_target, _key, descriptor) => {
    const method = descriptor.value as (...parameters: unknown[]) => unknown;
    const once = async function (this: unknown, ...parameters: unknown[]) {
      const due = Math.round(Date.now() / 1e3 / period) * period;
      const lock = await tryLock(`${name}:${due}`, { expires: 2 * period });
      return lock && await method.apply(this, parameters);
    };
    descriptor.value = once as typeof descriptor.value;
  };
}

class Reports {
  report() {
    console.log(`ran ${new Date().toISOString()}`);
  }
}

class App {}

// What the compiler makes of the decorators.
Injectable()(Reports);
const report = Object.getOwnPropertyDescriptor(Reports.prototype, "report")!;
OncePerFire("report", 1)(Reports.prototype, "report", report);
Cron("* * * * * *")(Reports.prototype, "report", report);
Object.defineProperty(Reports.prototype, "report", report);
Module({ imports: [ScheduleModule.forRoot()], providers: [Reports] })(App);

const app = await NestFactory.createApplicationContext(App, { logger: ["error", "warn"] });
process.once("SIGTERM", () => app.close().then(() => process.exit(0)));
