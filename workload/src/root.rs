//! The folder that a run's traffic stays in, so that it can share a live tree with others.
//!
//! The kinds of workload ask for `/mix`, `/register` and so on, as if the tree were theirs;
//! here those paths get a prefix on the way out and lose it on the way back, as a client's
//! chroot does. What is recorded is what the wire said: whole paths.
//!
//! Answers to: `ZooKeeper.prependChroot`.

use gamekeeper_client::Watched;
use gamekeeper_core::proto::{MultiOp, MultiResult, Request, Response};
use std::sync::Arc;

/// The prefix of every path of a run; empty for the tree's own root.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Root(String);

impl Root {
    /// A run below `path`, an absolute path without a slash at its end; `/` or "" is the
    /// tree's own root.
    pub fn new(path: &str) -> Root {
        Root(path.trim_end_matches('/').to_owned())
    }

    /// The path of the folder itself.
    pub fn path(&self) -> &str {
        if self.0.is_empty() { "/" } else { &self.0 }
    }

    fn add(&self, path: &mut Arc<str>) {
        if !self.0.is_empty() {
            *path = match &**path {
                "/" => self.0.as_str().into(),
                inner => format!("{}{inner}", self.0).into(),
            };
        }
    }

    fn remove(&self, path: &mut Arc<str>) {
        if let Some(inner) = path.strip_prefix(&self.0)
            && !self.0.is_empty()
        {
            *path = if inner.is_empty() { "/" } else { inner }.into();
        }
    }

    /// A request as the wire is to have it.
    pub(crate) fn outward(&self, mut request: Request) -> Request {
        match &mut request {
            Request::Create(r) => self.add(&mut r.path),
            Request::Delete(r) => self.add(&mut r.path),
            Request::Exists(r)
            | Request::GetData(r)
            | Request::GetChildren(r)
            | Request::GetChildren2(r) => self.add(&mut r.path),
            Request::SetData(r) => self.add(&mut r.path),
            Request::SetAcl(r) => self.add(&mut r.path),
            Request::GetAcl { path } | Request::Sync { path } => self.add(path),
            Request::Multi(ops) => {
                for op in ops {
                    match op {
                        MultiOp::Create(r) => self.add(&mut r.path),
                        MultiOp::Delete(r) => self.add(&mut r.path),
                        MultiOp::SetData(r) => self.add(&mut r.path),
                        MultiOp::Check(r) => self.add(&mut r.path),
                    }
                }
            }
            Request::Ping | Request::Auth(_) | Request::SetWatches(_) | Request::CloseSession => {}
        }
        request
    }

    /// An answer as the workload is to have it.
    pub(crate) fn inward(&self, mut response: Response) -> Response {
        match &mut response {
            Response::Create { path } | Response::Create2 { path, .. } => self.remove(path),
            Response::Multi(results) => {
                for result in results {
                    match result {
                        MultiResult::Create { path } | MultiResult::Create2 { path, .. } => {
                            self.remove(path);
                        }
                        MultiResult::Delete
                        | MultiResult::Check
                        | MultiResult::SetData { .. }
                        | MultiResult::Error { .. } => {}
                    }
                }
            }
            Response::Empty
            | Response::Exists { .. }
            | Response::GetData { .. }
            | Response::SetData { .. }
            | Response::GetAcl { .. }
            | Response::SetAcl { .. }
            | Response::GetChildren { .. }
            | Response::GetChildren2 { .. }
            | Response::Sync { .. } => {}
        }
        response
    }

    /// A watch event as the workload is to have it.
    pub(crate) fn inward_event(&self, mut watched: Watched) -> Watched {
        self.remove(&mut watched.event.path);
        watched
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask;
    use bytes::Bytes;

    #[test]
    fn paths_get_the_prefix_going_out_and_lose_it_coming_back() {
        let root = Root::new("/away/");
        assert_eq!(root.path(), "/away");
        let request = root.outward(ask::multi(vec![
            ask::op_check("/a", 1),
            ask::op_set("/", Bytes::new(), 0),
        ]));
        let Request::Multi(ops) = request else {
            panic!("{request:?}")
        };
        assert_eq!(&**ops[0].path(), "/away/a");
        assert_eq!(&**ops[1].path(), "/away");
        let path = "/away/q/n-0000000001".into();
        assert_eq!(
            root.inward(Response::Create { path }),
            Response::Create {
                path: "/q/n-0000000001".into()
            }
        );
    }

    #[test]
    fn without_a_root_nothing_changes() {
        let root = Root::new("/");
        assert_eq!(root.path(), "/");
        assert_eq!(root.outward(ask::get("/a", true)), ask::get("/a", true));
        let path: Arc<str> = "/a".into();
        let response = Response::Create { path };
        assert_eq!(root.inward(response.clone()), response);
    }
}
