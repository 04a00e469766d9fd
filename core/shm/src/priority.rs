//! How urgent a thread's work is to the scheduler.

/// Has the calling thread yield the processor to whoever else wants it, as with `nice 19`, for as long as it lives. On kernels where that can't be said of a thread, nothing changes.
///
/// Cost: a system call.
pub fn yield_to_others() {
    // SAFETY: it takes numbers alone; on Linux `0` is the calling thread, and to lower a priority needs no permission.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_thread_alone_becomes_less_urgent() {
        // The 19th field of `stat`: behind the name, which ends with the last parenthesis, it is the 17th.
        let nice = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, rest) = stat.rsplit_once(") ").unwrap();
            rest.split(' ').nth(16).unwrap().parse::<i32>().unwrap()
        };
        let before = nice();
        let beside = std::thread::spawn(move || {
            super::yield_to_others();
            nice()
        });
        assert_eq!(beside.join().unwrap(), 19);
        assert_eq!(nice(), before);
    }
}
