//! The lists. Each call is here because a worker made it with the filter in force, or because libc
//! falls back to it; conditions leave out the uses that lead out of the jail.

use crate::Profile;
use libc::{c_int, c_long};
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

type Condition = Result<SeccompCondition, BackendError>;
type Rules = Vec<(c_long, SeccompRule)>;

/// The command of an ioctl that makes a stream non-blocking, as std does; a number of the kernel's
/// interface, of a type that differs between targets.
const FIONBIO: u64 = 0x5421;

/// What every profile may call, whatever the arguments: memory, time, and descriptors it has.
const FREE: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_close,
    libc::SYS_fstat,
    // The daemon's code memfds are checked to be memfds.
    libc::SYS_fstatfs,
    libc::SYS_lseek,
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_futex,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_recvmsg,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_sched_yield,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

#[cfg(target_arch = "x86_64")]
const FREE_OF_TARGET: &[c_long] = &[libc::SYS_epoll_wait];
#[cfg(not(target_arch = "x86_64"))]
const FREE_OF_TARGET: &[c_long] = &[];

/// What only the net role may call.
const FREE_NET: &[c_long] = &[
    // The addresses were judged in this process; there is no other socket than of `socket` below.
    libc::SYS_connect,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_ppoll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
];

/// Calls that are allowed with any arguments.
pub(super) fn unconditional(profile: Profile) -> Vec<c_long> {
    let mut list = [FREE, FREE_OF_TARGET].concat();
    if profile == Profile::Net {
        list.extend(FREE_NET);
    }
    list
}

/// Calls that are allowed if one of their rules holds.
pub(super) fn conditional(profile: Profile, pid: u32) -> Result<Rules, BackendError> {
    let mut rules = memory()?;
    rules.extend(descriptors()?);
    rules.extend(signals(pid)?);
    match profile {
        Profile::Stub => {}
        Profile::Fetch => rules.extend(sealed_memfd()?),
        Profile::Net => rules.extend(network()?),
    }
    Ok(rules)
}

fn number(value: c_int) -> u64 {
    u64::from(value.unsigned_abs())
}

/// The argument is an int, of which the kernel looks at 32 bits.
fn is(argument: u8, value: c_int) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, number(value))
}

/// The bits of `mask` in a 64-bit argument are those of `value`.
fn has(argument: u8, mask: u64, value: c_int) -> Condition {
    let op = SeccompCmpOp::MaskedEq(mask);
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, op, number(value))
}

/// An int argument is `value`, but for bits of `free`.
fn is_but(argument: u8, value: c_int, free: c_int) -> Condition {
    let mask = !number(free) & u64::from(u32::MAX);
    let op = SeccompCmpOp::MaskedEq(mask);
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, number(value) & mask)
}

/// The command of an ioctl, of which the kernel looks at 32 bits.
fn is_ioctl(argument: u8, command: u64) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, command)
}

/// The argument is a null pointer.
fn is_null(argument: u8) -> Condition {
    SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)
}

fn rule<const N: usize>(
    call: c_long,
    conditions: [Condition; N],
) -> Result<(c_long, SeccompRule), BackendError> {
    let conditions: Vec<_> = conditions.into_iter().collect::<Result<_, _>>()?;
    Ok((call, SeccompRule::new(conditions)?))
}

/// Anonymous private memory that is never executable.
fn memory() -> Result<Rules, BackendError> {
    let exec = number(libc::PROT_EXEC);
    let kind = number(libc::MAP_SHARED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let private = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let mut rules = vec![
        rule(libc::SYS_mmap, [has(2, exec, 0), has(3, kind, private)])?,
        rule(libc::SYS_mprotect, [has(2, exec, 0)])?,
        rule(libc::SYS_mremap, [has(3, !number(libc::MREMAP_MAYMOVE), 0)])?,
    ];
    for advice in [libc::MADV_NORMAL, libc::MADV_DONTNEED, libc::MADV_FREE] {
        rules.push(rule(libc::SYS_madvise, [is(2, advice)])?);
    }
    Ok(rules)
}

/// Descriptors that are there: copied, made non-blocking, looked at; nothing is opened.
fn descriptors() -> Result<Rules, BackendError> {
    let mut rules = vec![
        // With an address, a datagram socket would reach any listener without connecting.
        rule(libc::SYS_sendto, [is_null(4)])?,
        // glibc's fstat.
        rule(libc::SYS_newfstatat, [is(3, libc::AT_EMPTY_PATH)])?,
        rule(libc::SYS_ioctl, [is_ioctl(1, FIONBIO)])?,
        rule(libc::SYS_fcntl, [is(1, libc::F_SETFD), is(2, libc::FD_CLOEXEC)])?,
        rule(
            libc::SYS_fcntl,
            [is(1, libc::F_SETFL), is_but(2, 0, libc::O_NONBLOCK | libc::O_RDWR)],
        )?,
    ];
    for command in [libc::F_GETFD, libc::F_GETFL, libc::F_GET_SEALS, libc::F_DUPFD_CLOEXEC] {
        rules.push(rule(libc::SYS_fcntl, [is(1, command)])?);
    }
    Ok(rules)
}

/// Dying of one's own faults, and nothing to anybody else.
fn signals(pid: u32) -> Result<Rules, BackendError> {
    let own = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, pid.into());
    let mut rules = vec![
        rule(libc::SYS_tgkill, [own, is(2, libc::SIGABRT)])?,
        rule(libc::SYS_rt_sigaction, [is_null(1)])?,
    ];
    // std resets these when it cannot explain a fault; refused, the fault would repeat for ever.
    for signal in [libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT] {
        rules.push(rule(libc::SYS_rt_sigaction, [is(0, signal)])?);
    }
    Ok(rules)
}

/// A memfd that is handed over sealed.
fn sealed_memfd() -> Result<Rules, BackendError> {
    let flags = number(libc::MFD_CLOEXEC.cast_signed() | libc::MFD_ALLOW_SEALING.cast_signed());
    let exactly = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, flags);
    Ok(vec![
        rule(libc::SYS_memfd_create, [exactly])?,
        rule(libc::SYS_fcntl, [is(1, libc::F_ADD_SEALS)])?,
    ])
}

/// TCP and UDP outwards, a stream to hand over, and the options of those.
fn network() -> Result<Rules, BackendError> {
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let mut rules = vec![
        rule(
            libc::SYS_socketpair,
            [is(0, libc::AF_UNIX), is_but(1, libc::SOCK_STREAM, flags), is(2, 0)],
        )?,
        rule(libc::SYS_getsockopt, [is(1, libc::SOL_SOCKET), is(2, libc::SO_ERROR)])?,
        rule(libc::SYS_setsockopt, [is(1, libc::IPPROTO_TCP), is(2, libc::TCP_NODELAY)])?,
        // Of the one listener that it may have from before: nothing here is bound or listens anew.
        rule(libc::SYS_accept4, [is(3, flags)])?,
    ];
    for family in [libc::AF_INET, libc::AF_INET6] {
        for (kind, protocol) in
            [(libc::SOCK_STREAM, libc::IPPROTO_TCP), (libc::SOCK_DGRAM, libc::IPPROTO_UDP)]
        {
            for protocol in [0, protocol] {
                let conditions = [is(0, family), is_but(1, kind, flags), is(2, protocol)];
                rules.push(rule(libc::SYS_socket, conditions)?);
            }
        }
    }
    Ok(rules)
}
