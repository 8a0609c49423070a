//! Compiles components in a process of its own, and the protocol between the host and that process.
//!
//! The sandbox protects the host from hostile code that runs, but not from hostile code that is being compiled. So the host starts
//! its own program again as `comptoir compile`. That process has the lowest priority and limits on memory and time, and the host can
//! kill it. It reads the component from stdin and writes machine code to stdout. It has no environment variables, and it opens none
//! of the host's files.
//!
//! | | |
//! |---|---|
//! | arguments | `compile --memory BYTES --seconds SECONDS --wasi 0.2\|0.3` |
//! | stdin | the component |
//! | stdout | machine code, if the exit code is 0 |
//! | stderr | one sentence about the failure, if the exit code is not 0 |

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use bytesize::ByteSize;
use rustix::process::{Resource, Rlimit, setrlimit};
use storage::priority;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use wasmtime::Engine;

use super::settings::{self, Wasi};

/// Maximum bytes that the host reads of a compiler's stderr.
const STDERR_BYTES: u64 = 64 << 10;

/// Niceness of a compiler process: the lowest priority.
const NICENESS: i32 = 19;

/// Machine code from wasmtime's compiler.
pub struct Compiled(Vec<u8>);

impl Compiled {
    /// Compiles a component in this process, for this engine.
    pub(super) fn by_engine(engine: &Engine, component: &[u8]) -> wasmtime::Result<Self> {
        engine.precompile_component(component).map(Self)
    }

    /// Code from the compilation cache, which has verified its MAC.
    pub(super) fn from_cache(code: Vec<u8>) -> Self {
        Self(code)
    }

    pub(super) fn code(&self) -> &[u8] {
        &self.0
    }
}

/// The limits of one compilation.
#[derive(Debug, Clone, Copy)]
pub struct CompileLimits {
    /// Address space of the compiler process, which also limits the size of the machine code.
    pub memory: ByteSize,
    /// Time until the host kills the process.
    pub time: Duration,
}

/// The program that compiles: `comptoir` itself.
#[derive(Debug, Clone, Copy)]
pub struct Compiler<'p> {
    program: &'p Path,
    limits: CompileLimits,
}

impl<'p> Compiler<'p> {
    /// A compiler that starts this program for each component.
    pub fn new(program: &'p Path, limits: CompileLimits) -> Self {
        Self { program, limits }
    }

    /// Compiles a component in a new process.
    ///
    /// # Errors
    /// A sentence: the component is not valid, it needs too much memory or time, or the process cannot be started.
    pub async fn compile(&self, wasi: Wasi, component: &[u8]) -> Result<Compiled, String> {
        let CompileLimits { memory, time } = self.limits;
        let mut process = self.start(wasi)?;
        let output = tokio::time::timeout(time, exchange(&mut process, component, memory.as_u64())).await;
        let output = output.map_err(|_| format!("it was not compiled within {time:?}"))?;
        let (status, code, stderr) = output.map_err(|error| format!("the compiler process failed: {error}"))?;
        if status.success() {
            // `exchange` stops reading at the limit, so code of that size may be truncated.
            let is_whole = (code.len() as u64) < memory.as_u64();
            return is_whole
                .then_some(Compiled(code))
                .ok_or_else(|| format!("its machine code has more than {memory}"));
        }
        let stderr = String::from_utf8_lossy(&stderr);
        let stderr = stderr.trim().trim_start_matches("comptoir: ");
        // Without memory, the process either reports "out of memory" or is killed by a signal.
        if status.code().is_some() && !stderr.is_empty() && !stderr.ends_with("out of memory") {
            return Err(stderr.to_owned());
        }
        tracing::warn!(%status, stderr, "a compiler process ended early");
        Err(format!("compiling it was cut short ({status}): perhaps it needs more than {memory} of memory"))
    }

    fn start(&self, wasi: Wasi) -> Result<Child, String> {
        let CompileLimits { memory, time } = self.limits;
        let mut command = Command::new(self.program);
        command.arg("compile").arg("--memory").arg(memory.as_u64().to_string());
        // The process has one thread, so its CPU time cannot exceed the elapsed time. This limit ends it if the host was killed.
        command.arg("--seconds").arg((time.as_secs() + 1).to_string());
        command.arg("--wasi").arg(wasi.version());
        command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().map_err(|error| format!("cannot start {}: {error}", self.program.display()))
    }
}

/// Writes the component to the process and reads its output. Returns the exit status, at most `code_limit` bytes of code, and stderr.
async fn exchange(
    process: &mut Child,
    component: &[u8],
    code_limit: u64,
) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let (stdin, stdout, stderr) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // A failed write means that the process ended early. Its stderr says why.
            let _ = stdin.write_all(component).await;
        }
    };
    let ((), code, stderr, status) =
        tokio::join!(write, read(stdout, code_limit), read(stderr, STDERR_BYTES), process.wait());
    Ok((status?, code?, stderr?))
}

/// Reads to the end or to the limit. Closing the pipe at the limit makes further writes of the process fail.
async fn read(from: Option<impl AsyncRead + Unpin>, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(limit).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// The arguments of `comptoir compile`.
#[derive(Debug, clap::Args)]
pub struct Compile {
    /// Bytes of address space.
    #[arg(long)]
    memory: u64,
    /// Seconds of CPU time.
    #[arg(long)]
    seconds: u64,
    /// WASI version of the component: 0.2 or 0.3.
    #[arg(long)]
    wasi: String,
}

impl Compile {
    /// Compiles the component on stdin to machine code on stdout.
    ///
    /// The process limits itself before it reads its input.
    ///
    /// # Errors
    /// The component is not valid, or a limit cannot be set.
    pub fn run(&self) -> anyhow::Result<()> {
        self.limit_this_process()?;
        let wasi = if self.wasi == Wasi::P3.version() { Wasi::P3 } else { Wasi::P2 };
        let mut component = Vec::new();
        io::stdin().lock().read_to_end(&mut component)?;
        let mut config = settings::config(wasi);
        // One thread: more of them would disturb requests in spite of their low priority.
        config.parallel_compilation(false);
        let code = Engine::new(&config)?.precompile_component(&component)?;
        io::stdout().lock().write_all(&code).context("cannot write the machine code to stdout")
    }

    fn limit_this_process(&self) -> anyhow::Result<()> {
        priority::lower(NICENESS).context("cannot lower the priority of the compiler process")?;
        // Other systems have one niceness for the whole process, so `priority` does not change it.
        #[cfg(not(target_os = "linux"))]
        rustix::process::nice(NICENESS).context("cannot lower the priority of the compiler process")?;
        // Linux sends this signal when the thread that started the process ends. The host starts it on a thread of its runtime, and
        // those threads end with the host. On other systems the time limit must be enough.
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .context("cannot make the compiler process end with its host")?;
        limit(Resource::As, self.memory).context("cannot limit the memory of the compiler process")?;
        limit(Resource::Cpu, self.seconds).context("cannot limit the CPU time of the compiler process")
    }
}

fn limit(resource: Resource, value: u64) -> rustix::io::Result<()> {
    setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
}
