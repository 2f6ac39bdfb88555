//! How a program that starts others runs itself.

/// Everything runs on one thread: children are tied to the thread that started them, and a second thread would
/// only compete for the core it shares with the application.
pub fn local_runtime() -> std::io::Result<tokio::runtime::LocalRuntime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
}

/// Runs `work` until it ends or a signal arrives; either way its processes are dropped, and so ended, before return.
pub fn supervised<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    use tokio::signal::unix::{SignalKind, signal};
    local_runtime()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            result = work => result,
            _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted; every process it started has been ended"),
            _ = terminate.recv() => anyhow::bail!("terminated; every process it started has been ended"),
        }
    })
}
