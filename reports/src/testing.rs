//! A tiny run directory for tests: three servers, two clients, one lie.
//!
//! What always holds: it lives in a folder of its own and is gone when dropped.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A name and text that would break a page that trusts them.
pub const HOSTILE: &str = "<script>alert('x')</script>&\"";

const SCENARIO: &str = r#"seed = 5
[cluster]
voters = 3
observers = 0
[timing]
tick_ms = 200
init_limit = 8
sync_limit = 4
session_timeout_ms = 1000
[phases]
warmup_ms = 1000
[[workloads]]
kind = "mix"
clients = 2
[[plan]]
at_ms = 1000
for_ms = 500
[plan.fault]
kind = "isolate"
target = "leader"
"#;

const OUTCOME: &str = r#"{"seed":5,"verdict":"invalid","property":"P5 monotonic-reads","records":["went back","process 1 at 2.500000 s: notified of NodeDeleted /HOSTILE at zxid 0x200000001"],"fingerprint":"abc","commits":2,"events":9,"virtual_ns":4000000000,"chaos_ns":1,"elections":2,"crashes":1,"recoveries":1,"faults":{"kill":1},"skipped":{},"ops":{"ok":1,"failed":1,"unknown":1},"probes":{}}
"#;

const HISTORY: &str = r#"{"type":"header","version":1}
{"type":"session","process":1,"time":100000000,"server":1,"session":"0x1","event":"connected","timeout_ms":1000}
{"type":"invoke","process":1,"time":1000000000,"server":1,"session":"0x1","xid":1,"f":"create","path":"/HOSTILE","value":""}
{"type":"ok","process":1,"time":1100000000,"server":1,"xid":1,"zxid":4294967297,"answer":"path","path":"/HOSTILE"}
{"type":"invoke","process":2,"time":1200000000,"server":1,"session":"0x2","xid":1,"f":"exists","path":"/b"}
{"type":"fail","process":2,"time":1300000000,"server":1,"xid":1,"zxid":4294967297,"error":"NoNode"}
{"type":"invoke","process":2,"time":1900000000,"server":1,"session":"0x2","xid":2,"f":"delete","path":"/HOSTILE"}
{"type":"info","process":2,"time":2100000000,"server":1,"xid":2}
{"type":"notify","process":1,"time":2500000999,"server":2,"zxid":8589934593,"event":"NodeDeleted","path":"/HOSTILE"}
"#;

const EVENTS: &str = r#"{"time":10000000,"server":1,"process":1,"event":"recovered","snapshot":"0x0","last":"0x0","accepted":0,"current":0,"fitness":"empty"}
{"time":10000000,"server":1,"process":1,"event":"role","role":"looking"}
{"time":10000000,"server":2,"process":1,"event":"role","role":"looking"}
{"time":10000000,"server":3,"process":1,"event":"role","role":"looking"}
{"time":500000000,"server":1,"process":1,"event":"established","epoch":1,"last":"0x0"}
{"time":500000000,"server":1,"process":1,"event":"role","role":"leading","epoch":1}
{"time":600000000,"server":2,"process":1,"event":"role","role":"following","leader":1,"epoch":1}
{"time":1050000000,"server":1,"process":1,"event":"delivered","zxid":"0x100000001","hash":"00000001"}
{"time":1060000000,"server":2,"process":1,"event":"delivered","zxid":"0x100000001","hash":"00000001"}
{"time":2100000000,"server":2,"process":1,"event":"role","role":"electing","leader":2}
{"time":2300000000,"server":2,"process":1,"event":"established","epoch":2,"last":"0x100000001"}
{"time":2300000000,"server":2,"process":1,"event":"role","role":"leading","epoch":2}
{"time":2400000000,"server":3,"process":1,"event":"role","role":"following","leader":2,"epoch":2}
{"time":2450000000,"server":2,"process":1,"event":"delivered","zxid":"0x200000001","hash":"00000002"}
{"time":3000000000,"server":3,"process":1,"event":"halted","reason":"HOSTILE"}
{"time":3000000000,"server":3,"process":1,"event":"a-name-of-next-year"}
"#;

const TRACE: &str = "        0.000000  s1          start       1 0 0
        0.000000  s2          start       1 0 0
        0.000000  s3          start       1 0 0
        0.000001  c0          dial        2 2181 0
     2000.000000  s1          crash       1 0 0
     3000.000000  s1          start       2 0 0
";

/// A run directory on disk.
pub struct Directory(PathBuf);

impl Directory {
    /// A whole one in a folder that nobody else has.
    pub fn new(name: &str) -> Directory {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = format!("gamekeeper-report-{}-{name}-{number}", std::process::id());
        let dir = Directory(std::env::temp_dir().join(folder));
        fs::create_dir_all(&dir.0).unwrap();
        let quoted = serde_json::to_string(HOSTILE).unwrap();
        let hostile = &quoted[1..quoted.len() - 1];
        for (file, text) in [
            ("version", "1\n"),
            ("scenario.toml", SCENARIO),
            ("outcome.json", OUTCOME),
            ("history.jsonl", HISTORY),
            ("events.jsonl", EVENTS),
            ("trace.log", TRACE),
        ] {
            dir.put(file, &text.replace("HOSTILE", hostile));
        }
        dir
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file over.
    pub fn put(&self, name: &str, text: &str) {
        fs::write(self.0.join(name), text).unwrap();
    }

    /// Takes a file away.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.0.join(name)).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Left behind in the temporary folder at worst.
        let _ = fs::remove_dir_all(&self.0);
    }
}
