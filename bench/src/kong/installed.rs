//! An installed Kong, run on loopback with one worker.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tollgate_testkit::http::Client;
use tollgate_testkit::process::Process;
use tollgate_testkit::{wait, workspace};

use crate::{process, result};

/// Kong starts within seconds, but compiling a module takes longer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Modules where Kong looks for them: a filter has its file's name.
pub struct Filters(TempDir);

impl Filters {
    /// Tollgate, the filter that does nothing, and other builds of Tollgate.
    pub fn of(tollgate: &Path, noop: &Path, builds: &[PathBuf]) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("tollgate-")?;
        let meta = workspace::root().join("dist/tollgate.meta.json");
        let put = |from: &Path, name: String| {
            fs::copy(from, folder.path().join(&name)).with_context(|| format!("{} as {name}", from.display()))
        };
        put(noop, "noop.wasm".into())?;
        for (module, name) in builds
            .iter()
            .map(|build| (build.as_path(), name_of(build)))
            .chain([(tollgate, "tollgate".into())])
        {
            put(module, format!("{name}.wasm"))?;
            put(&meta, format!("{name}.meta.json"))?;
        }
        Ok(Self(folder))
    }
}

/// Kong's name for a module's filter.
pub fn name_of(module: &Path) -> String {
    module.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// A running Kong, which stops when this is dropped.
pub struct Kong {
    _process: Process,
    _folder: TempDir,
    program: PathBuf,
    address: SocketAddr,
    worker: u32,
}

impl Kong {
    /// Starts the Kong that is installed in `prefix`, with a declarative configuration.
    pub fn start(prefix: &Path, filters: &Filters, configuration: &Value) -> anyhow::Result<Self> {
        let program = prefix.join("bin/kong");
        ensure!(
            program.is_file(),
            "there is no {}: name the folder that Kong is installed in",
            program.display()
        );
        // The folder holds Kong's sockets, whose paths must be short.
        let folder = TempDir::with_prefix("kong-")?;
        let declarative = folder.path().join("kong.json");
        fs::write(&declarative, configuration.to_string())?;
        let (address, status) = (free_port()?, free_port()?);
        let log = File::create(folder.path().join("start.log"))?;
        let mut command = Command::new(&program);
        command.args(["start", "--prefix"]).arg(folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let settings = [
            ("DATABASE", "off".to_owned()),
            ("DECLARATIVE_CONFIG", declarative.to_string_lossy().into_owned()),
            ("PROXY_LISTEN", address.to_string()),
            ("STATUS_LISTEN", status.to_string()),
            ("ADMIN_LISTEN", "off".into()),
            ("ADMIN_GUI_LISTEN", "off".into()),
            ("ANONYMOUS_REPORTS", "off".into()),
            ("PLUGINS", "rate-limiting".into()),
            ("NGINX_DAEMON", "off".into()),
            ("NGINX_WORKER_PROCESSES", "1".into()),
            ("NGINX_HTTP_KEEPALIVE_REQUESTS", "1000000".into()),
            ("WASM", "on".into()),
            ("WASM_FILTERS_PATH", filters.0.path().to_string_lossy().into_owned()),
            ("NGINX_WASM_SHM_KV_TOLLGATE", "26m".into()),
        ];
        command.envs(settings.map(|(name, value)| (format!("KONG_{name}"), value)));
        let mut process = Process::start(command).with_context(|| program.display().to_string())?;
        let has_failed = || {
            let read = |file: &str| fs::read_to_string(folder.path().join(file)).unwrap_or_default();
            let said = read("start.log") + &read("logs/error.log");
            let last: Vec<&str> = said.lines().rev().take(20).collect();
            format!("Kong does not start:\n{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"))
        };
        let worker = wait::until("Kong to be ready", PATIENCE, || {
            if matches!(process.ended(), Ok(Some(_))) {
                return Some(None);
            }
            let answer = Client::to(status).get("/status/ready").ok()?;
            (answer.status == 200).then(|| worker_of(folder.path()))
        });
        let worker = worker.ok().flatten().with_context(has_failed)?;
        Ok(Self { _process: process, _folder: folder, program, address, worker })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// CPU time of the worker so far.
    pub fn worker_cpu_time(&self) -> anyhow::Result<Duration> {
        process::cpu_time(self.worker)
    }

    /// The version that it reports.
    pub fn version(&self) -> anyhow::Result<String> {
        result::says(&self.program.to_string_lossy(), &["version"])
    }
}

/// The only worker of the nginx whose prefix is `folder`.
fn worker_of(folder: &Path) -> Option<u32> {
    let master = fs::read_to_string(folder.join("pids/nginx.pid")).ok()?;
    let master = master.trim();
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).ok()?;
    let is_worker = |id: &u32| {
        let called = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        called.starts_with(b"nginx: worker process")
    };
    children.split_ascii_whitespace().filter_map(|id| id.parse().ok()).find(is_worker)
}

fn free_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
