//! What the kernel says of one process: memory, processor time, threads, descriptors. Reads
//! `/proc`, waits for nothing.

use std::fs;
use std::io::Read as _;
use std::time::Duration;

use nix::sys::time::TimeValLike as _;

/// Nothing of a process that is read here is longer.
const MAX: u64 = 16 * 1024;

/// One process at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProcessUsage {
    /// Processor time, user and system, its threads together.
    pub cpu: Duration,
    /// Who started it.
    pub parent: u32,
    /// Bytes of memory that are its own or shared with others.
    pub resident_bytes: u64,
    /// Bytes of address space.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Start, seconds since boot.
    pub started_after_boot: f64,
}

/// Closes this process to everybody but root, to other processes of its own user too (its
/// children among them): no look into its memory, environment and descriptors, no debugger, no
/// core dump. What it starts is open again, unless it does the same.
pub fn close_to_others() -> nix::Result<()> {
    use nix::sys::resource::{Resource, setrlimit};
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    nix::sys::prctl::set_dumpable(false)
}

/// `None` where there is no such process any more.
pub fn usage(pid: u32) -> Option<ProcessUsage> {
    let stat = read(&format!("/proc/{pid}/stat"))?;
    let ticks = sysconf(nix::unistd::SysconfVar::CLK_TCK)?;
    let page = sysconf(nix::unistd::SysconfVar::PAGE_SIZE)?;
    parse(&stat, ticks, page)
}

/// Processor time of every process that this one has started and that has been reaped since.
pub fn ended_children_cpu() -> Option<Duration> {
    let usage =
        nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).ok()?;
    let spent = |time: nix::sys::time::TimeVal| {
        let micros = u64::try_from(time.num_microseconds()).unwrap_or(0);
        Duration::from_micros(micros)
    };
    Some(spent(usage.user_time()) + spent(usage.system_time()))
}

/// Open descriptors of this process, and how many it may have.
pub fn open_files() -> (u64, u64) {
    let open = fs::read_dir("/proc/self/fd").map_or(0, |dir| dir.count() as u64);
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .map_or(0, |(soft, _)| soft);
    // The one that is open for looking is not counted.
    (open.saturating_sub(1), limit)
}

/// Seconds since the epoch at which the machine booted.
pub fn boot_time() -> Option<f64> {
    let stat = read("/proc/stat")?;
    let line = stat.lines().find_map(|l| l.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

fn sysconf(variable: nix::unistd::SysconfVar) -> Option<f64> {
    let value = nix::unistd::sysconf(variable).ok()??;
    #[expect(clippy::cast_precision_loss, reason = "100 and 4096")]
    let value = value as f64;
    (value > 0.0).then_some(value)
}

fn read(path: &str) -> Option<String> {
    let mut text = String::new();
    fs::File::open(path)
        .ok()?
        .take(MAX)
        .read_to_string(&mut text)
        .ok()?;
    Some(text)
}

/// `/proc/PID/stat` (proc_pid_stat(5)): fields from the third on, behind the last parenthesis.
fn parse(stat: &str, ticks: f64, page: f64) -> Option<ProcessUsage> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| -> Option<u64> { fields.get(number - 3)?.parse().ok() };
    #[expect(clippy::cast_precision_loss, reason = "below 2^52")]
    let seconds = |number| field(number).map(|value: u64| value as f64 / ticks);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a page's size"
    )]
    let page = page as u64;
    Some(ProcessUsage {
        cpu: Duration::try_from_secs_f64(seconds(14)? + seconds(15)?).ok()?,
        parent: u32::try_from(field(4)?).ok()?,
        threads: field(20)?,
        started_after_boot: seconds(22)?,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)?.saturating_mul(page),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_hostile_name() {
        let line = "42 (a) b 7 () S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 13 0 1000 8192000 512 18446744073709551615 1";
        let usage = parse(line, 100.0, 4096.0).unwrap();
        assert_eq!((usage.cpu, usage.parent), (Duration::from_secs(2), 1));
        assert_eq!(
            (usage.threads, usage.resident_bytes, usage.virtual_bytes),
            (13, 512 * 4096, 8_192_000)
        );
        assert!((usage.started_after_boot - 10.0).abs() < 1e-9);
        assert_eq!(parse("42 (x) S 1", 100.0, 4096.0), None);
        assert_eq!(parse("", 100.0, 4096.0), None);
    }

    #[test]
    fn ourselves() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.resident_bytes > 100_000 && usage.threads >= 1);
        let (open, limit) = open_files();
        assert!(open >= 3 && limit >= open);
        assert!(boot_time().unwrap() > 1e9);
    }
}
