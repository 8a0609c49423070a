//! Compiles components in a process of its own, and the protocol between the host and that process.
//!
//! The sandbox protects the host from hostile code that runs, but not from hostile code that is being compiled. So the host starts
//! its own program again as `comptoir compile`. That process has limits on memory and CPU time, and the host can kill it. It reads
//! the component from stdin and writes machine code to stdout. It has no environment variables, except the number of its threads, and
//! it opens none of the host's files.
//!
//! While the host serves, the process has one thread of the lowest priority. Before the host serves anything, it has all cores at
//! normal priority ([`CompilePriority`]).
//!
//! | | |
//! |---|---|
//! | arguments | `compile --memory BYTES --seconds SECONDS --wasi 0.2\|0.3 [--gc-heap] [--all-cores]` |
//! | environment | `RAYON_NUM_THREADS`, with `--all-cores` |
//! | stdin | the component |
//! | stdout | machine code, if the exit code is 0 |
//! | stderr | one sentence about the failure, if the exit code is not 0 |

use std::io::{self, Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use bytesize::ByteSize;
use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use storage::priority;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use wasmtime::Engine;

use super::settings::{self, Target, Wasi};

/// Maximum bytes that the host reads of a compiler's stderr.
const STDERR_BYTES: u64 = 64 << 10;

/// Niceness of a compiler process: the lowest priority.
const NICENESS: i32 = 19;

/// How many times its CPU time a compilation may last.
///
/// On a busy machine a compiler of low priority gets little CPU time. Only one that hangs gets nowhere near its limit in this time.
const ELAPSED_FACTOR: u32 = 10;

/// Address space that each thread of a compiler needs: its stack, and an arena of the memory allocator.
const THREAD_BYTES: u64 = 256 << 20;

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
    /// CPU time of the compiler process, all threads together. The system counts whole seconds, so the host rounds it up.
    pub time: Duration,
}

/// How much of the machine a compilation takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompilePriority {
    /// All cores at normal priority: the host serves nothing yet.
    AllCores,
    /// One thread of the lowest priority, which does not disturb requests.
    Low,
}

/// The program that compiles: `comptoir` itself.
#[derive(Debug, Clone, Copy)]
pub struct Compiler<'p> {
    program: &'p Path,
    limits: CompileLimits,
    priority: CompilePriority,
}

impl<'p> Compiler<'p> {
    /// A compiler that starts this program for each component.
    pub fn new(program: &'p Path, limits: CompileLimits, priority: CompilePriority) -> Self {
        Self { program, limits, priority }
    }

    /// Compiles a component in a new process.
    ///
    /// # Errors
    /// A sentence: the component is not valid, it needs too much memory or time, or the process cannot be started.
    pub async fn compile(&self, target: Target, component: &[u8]) -> Result<Compiled, String> {
        let CompileLimits { memory, time } = self.limits;
        let mut process = self.start(target)?;
        let elapsed = time.saturating_mul(ELAPSED_FACTOR);
        let output = tokio::time::timeout(elapsed, exchange(&mut process, component, memory.as_u64())).await;
        let output = output.map_err(|_| {
            format!(
                "it was not compiled within {elapsed:?}, {ELAPSED_FACTOR} times `compile_time`: raise it in [deploy]"
            )
        })?;
        let (status, code, stderr) = output.map_err(|error| format!("the compiler process failed: {error}"))?;
        if status.success() {
            // `exchange` stops reading at the limit, so code of that size may be truncated.
            let is_whole = (code.len() as u64) < memory.as_u64();
            return is_whole
                .then_some(Compiled(code))
                .ok_or_else(|| format!("its machine code has more than {memory}"));
        }
        if status.signal() == Some(Signal::XCPU.as_raw()) {
            let seconds = whole_seconds(time);
            return Err(format!(
                "compiling it takes more than {seconds}s of CPU time: raise `compile_time` in [deploy]"
            ));
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

    fn start(&self, target: Target) -> Result<Child, String> {
        let CompileLimits { memory, time } = self.limits;
        let mut command = Command::new(self.program);
        command.arg("compile").arg("--memory").arg(memory.as_u64().to_string());
        command.arg("--seconds").arg(whole_seconds(time).to_string());
        command.arg("--wasi").arg(target.wasi.version()).args(target.gc_heap.then_some("--gc-heap"));
        command.env_clear();
        if self.priority == CompilePriority::AllCores {
            command.arg("--all-cores").env("RAYON_NUM_THREADS", threads(memory.as_u64()).to_string());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().map_err(|error| format!("cannot start {}: {error}", self.program.display()))
    }
}

/// A limit in whole seconds, rounded up. At least one, because 0 would mean one second to Linux too.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs_f64().ceil().max(1.0) as u64
}

/// The threads of a compiler that may use all cores: one for each core, as far as they fit into its address space.
fn threads(memory_bytes: u64) -> u64 {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    cores.min(memory_bytes / THREAD_BYTES).max(1)
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
    /// Accept code that uses garbage-collected objects and exceptions.
    #[arg(long)]
    gc_heap: bool,
    /// Use all cores at normal priority.
    #[arg(long)]
    all_cores: bool,
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
        let mut config = settings::config(Target { wasi, gc_heap: self.gc_heap });
        // More than one thread would disturb requests in spite of their low priority.
        config.parallel_compilation(self.all_cores);
        let code = Engine::new(&config)?.precompile_component(&component)?;
        io::stdout().lock().write_all(&code).context("cannot write the machine code to stdout")
    }

    fn limit_this_process(&self) -> anyhow::Result<()> {
        if !self.all_cores {
            priority::lower(NICENESS).context("cannot lower the priority of the compiler process")?;
            // Other systems have one niceness for the whole process, so `priority` does not change it.
            #[cfg(not(target_os = "linux"))]
            rustix::process::nice(NICENESS).context("cannot lower the priority of the compiler process")?;
        }
        // Linux sends this signal when the thread that started the process ends. The host starts it on a thread of its runtime, and
        // those threads end with the host. On other systems the time limit must be enough.
        #[cfg(target_os = "linux")]
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .context("cannot make the compiler process end with its host")?;
        // The signal of the CPU limit would write a core dump of the whole process.
        limit(Resource::Core, 0, 0).context("cannot turn off core dumps of the compiler process")?;
        limit(Resource::As, self.memory, self.memory).context("cannot limit the memory of the compiler process")?;
        // At the first limit the system sends SIGXCPU, which tells the host why the process ended. At the second one it kills.
        limit(Resource::Cpu, self.seconds, self.seconds + 1)
            .context("cannot limit the CPU time of the compiler process")
    }
}

fn limit(resource: Resource, current: u64, maximum: u64) -> rustix::io::Result<()> {
    setrlimit(resource, Rlimit { current: Some(current), maximum: Some(maximum) })
}

#[cfg(test)]
mod tests;
