//! An application of HTTP/1 that writes down each whole request, and answers as its path asks.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weft_testkit::hostile::{answer, end_of_request};

/// The requests that it has got, as they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Recorder(Rc<RefCell<Vec<Vec<u8>>>>);

impl Recorder {
    /// Serves all that comes to a listener.
    pub(super) fn serve(listener: TcpListener) -> Self {
        let recorder = Self::default();
        let told = recorder.clone();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let told = told.clone();
                tokio::task::spawn_local(async move { told.connection(stream).await });
            }
        });
        recorder
    }

    /// Forgets what has reached it.
    pub(super) fn forget(&self) {
        self.0.borrow_mut().clear();
    }

    /// What has reached it.
    pub(super) fn requests(&self) -> Vec<Vec<u8>> {
        self.0.borrow().clone()
    }

    async fn connection(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        while stream.read_buf(&mut bytes).await? > 0 {
            while let Some(end) = end_of_request(&bytes) {
                let request: Vec<u8> = bytes.drain(..end).collect();
                let (answer, ends) = answer(&request);
                self.0.borrow_mut().push(request);
                stream.write_all(answer).await?;
                if ends {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
