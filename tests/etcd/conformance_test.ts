import { connect } from "@lockmgr/lockmgr";
import { conformance } from "@lockmgr/lockmgr/conformance";
import "../../examples/backends/etcd.ts";
import { test } from "../harness.ts";
import { EtcdCluster } from "../servers/etcd.ts";

const cluster = await EtcdCluster.start();

conformance({
  test: (name, body) => test(`etcd: ${name}`, body),
  open: () => connect(cluster.url),
  supports: { mode: "lease", expiredRows: false, queueing: false, keeping: false, adopting: false },
});
