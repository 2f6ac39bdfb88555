//! The runtimes that commands run on.

use std::future::Future;

use anyhow::Context as _;
use tokio::runtime::Builder;

/// Runs on the calling thread alone. Children are started by this thread, and the kernel takes them for orphans when
/// the thread that started them ends: so it has to be the main one.
pub(crate) fn on_this_thread<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start the runtime")?;
    let done = runtime.block_on(work);
    // A name that is still being looked up must not keep the process.
    runtime.shutdown_background();
    done
}

/// Runs on as many threads as there are processors.
pub(crate) fn on_all_threads<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}
