//! Where a lab's data are: in a database of its own, on the test's server.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::PgConnection;
use windlass_store::Place;

use crate::servers::Postgres;

thread_local! {
    /// The server of this test's thread, gone with it.
    static SERVER: RefCell<Option<Rc<Postgres>>> = const { RefCell::new(None) };
}

pub(crate) async fn server() -> Rc<Postgres> {
    if let Some(server) = SERVER.with_borrow(Clone::clone) {
        return server;
    }
    let server = Rc::new(Postgres::start().await);
    SERVER.with_borrow_mut(|known| *known = Some(Rc::clone(&server)));
    server
}

pub(crate) async fn place(folder: &Path) -> Place {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let server = server().await;
    let name = format!("lab{}", COUNT.fetch_add(1, Ordering::Relaxed));
    sql(&server.url, &format!("create database {name}")).await;
    Place {
        folder: folder.to_path_buf(),
        database: Some(format!(
            "postgres://windlass@127.0.0.1:{}/{name}",
            server.port
        )),
    }
}

pub(crate) async fn connect(url: &str) -> PgConnection {
    <PgConnection as sqlx::Connection>::connect(url)
        .await
        .unwrap()
}

/// Runs SQL on this database.
pub(crate) async fn sql(url: &str, text: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(text.to_owned()))
        .execute(&mut connect(url).await)
        .await
        .unwrap();
}
