//! A process of a measurement: its parent's end, its own end, and what it used.

use std::io::{BufRead as _, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A copy of this executable that was started for a part of the work; killed when dropped.
pub(crate) struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts the subcommand `name` and tells it the first line.
    pub(crate) fn start(name: &str, setup: &impl Serialize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting a process for {name}"))?;
        let input = child.stdin.take().context("a pipe to the process")?;
        let output = BufReader::new(child.stdout.take().context("a pipe from the process")?);
        let mut process = Self { child, input, output };
        process.tell(setup)?;
        Ok(process)
    }

    /// Memory that it has now, bytes.
    pub(crate) fn rss_of(id: u32) -> Result<u64> {
        memory(&format!("/proc/{id}/status"), "VmRSS:")
    }

    /// Its number among the system's processes.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line to it.
    pub(crate) fn tell(&mut self, value: &impl Serialize) -> Result<()> {
        write_json(&mut self.input, value)
    }

    /// Reads a line from it.
    pub(crate) fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).context("the process said nothing of use; see above")
    }

    /// Pulls its plug (SIGKILL) and waits until it is gone.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits until it has ended well.
    pub(crate) fn wait(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        ensure!(status.success(), "a process ended with {status}");
        Ok(())
    }
}

/// Reads a line from the parent.
pub(crate) fn read_line<T: DeserializeOwned>() -> Result<T> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    serde_json::from_str(&line).context("a line from the parent")
}

/// Writes a line to the parent.
pub(crate) fn write_line(value: &impl Serialize) -> Result<()> {
    write_json(&mut std::io::stdout().lock(), value)
}

fn write_json(out: &mut impl Write, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

/// Most memory that this process ever had.
pub(crate) fn peak_rss_bytes() -> Result<u64> {
    memory("/proc/self/status", "VmHWM:")
}

/// Memory that this process has.
pub(crate) fn rss_bytes() -> Result<u64> {
    memory("/proc/self/status", "VmRSS:")
}

fn memory(path: &str, field: &str) -> Result<u64> {
    let status = std::fs::read_to_string(path)?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .with_context(|| format!("no {field} in {path}"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib * 1024)
}

/// User and system time of this process so far.
pub(crate) fn cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Fields 14 and 15 of proc(5), counted after the parenthesised name; in ticks of 1/100 s on every Linux.
    let after = stat.rsplit_once(')').context("an odd /proc/self/stat")?.1;
    let field = |i: usize| -> Result<f64> {
        Ok(after
            .split_whitespace()
            .nth(i)
            .context("a short /proc/self/stat")?
            .parse()?)
    };
    Ok((field(11)? + field(12)?) / 100.0)
}
