//! Translates statements that read or change rows.

use sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, Expr, FromTable, Insert, OnConflict, OnConflictAction,
    OnInsert, Query, SelectItem, SetExpr, Statement, TableFactor, TableObject, TableWithJoins, Update,
    UpdateTableFromKind,
};
use sqlparser::tokenizer::TokenWithSpan;

use crate::StorageError;
use crate::statement_kind::StatementKind;

use super::writer::{Writer, Written};
use super::{Limits, Translated, denied, grammar, invalid, shown, tokens};

const NO_REPLACE: &str =
    "INSERT OR … and REPLACE do not work on PostgreSQL: write INSERT … ON CONFLICT … DO UPDATE or DO NOTHING";

/// Translates a data statement.
pub(super) fn statement(words: Vec<TokenWithSpan>, limits: &Limits) -> Result<Translated, StorageError> {
    is_of_data(&words)?;
    tokens::bounded(&words)?;
    let statement = grammar::parse(words)?;
    let mut writer = Writer::new(limits);
    let (writes, gives_rows) = writer.data(&statement)?;
    let (sql, parameters) = writer.finish()?;
    Ok(Translated { sql, parameters, writes, gives_rows })
}

/// Refuses other kinds of statements before they are parsed.
fn is_of_data(words: &[TokenWithSpan]) -> Written {
    let Some(first) = tokens::first_word(words) else {
        return Err(invalid("a statement must begin with a keyword such as SELECT"));
    };
    match first.as_str() {
        "SELECT" | "VALUES" | "WITH" | "INSERT" | "UPDATE" | "DELETE" => Ok(()),
        "REPLACE" => Err(invalid(NO_REPLACE)),
        "CREATE" | "ALTER" | "DROP" => Err(denied(format!("{first} outside of a migration"))),
        "TABLE" => Err(invalid("SQLite has no TABLE: write SELECT * FROM")),
        _ => match StatementKind::of(&first) {
            StatementKind::Forbidden(kind) => Err(denied(kind)),
            _ => Err(invalid(format!("no data statement begins with {:?}", shown(&first)))),
        },
    }
}

impl Writer<'_> {
    /// Writes a data statement. Returns whether it writes, and whether it returns rows.
    fn data(&mut self, statement: &Statement) -> Result<(bool, bool), StorageError> {
        match statement {
            Statement::Query(query) => match query.body.as_ref() {
                SetExpr::Insert(statement) | SetExpr::Update(statement) | SetExpr::Delete(statement) => {
                    self.change_after_with(query)?;
                    self.change(statement)
                }
                _ => self.query(query).map(|()| (false, true)),
            },
            _ => self.change(statement),
        }
    }

    fn change_after_with(&mut self, query: &Query) -> Written {
        self.query_begins(query)?;
        if query.order_by.is_some() || query.limit_clause.is_some() {
            return Err(invalid("UPDATE and DELETE with ORDER BY or LIMIT do not work on PostgreSQL"));
        }
        Ok(())
    }

    fn change(&mut self, statement: &Statement) -> Result<(bool, bool), StorageError> {
        let returning = match statement {
            Statement::Insert(insert) => self.insert(insert)?,
            Statement::Update(update) => self.update(update)?,
            Statement::Delete(delete) => self.delete(delete)?,
            _ => return Err(denied("this kind of statement")),
        };
        self.returning(returning)?;
        Ok((true, returning.is_some()))
    }

    fn insert<'i>(&mut self, insert: &'i Insert) -> Result<Option<&'i Vec<SelectItem>>, StorageError> {
        insert_is_plain(insert)?;
        let TableObject::TableName(table) = &insert.table else {
            return Err(invalid("INSERT needs the name of a table"));
        };
        self.put("INSERT INTO ");
        self.table(table)?;
        if let Some(alias) = &insert.table_alias {
            self.table_alias(&alias.alias)?;
        }
        self.put(" ");
        if !insert.columns.is_empty() {
            self.parentheses(|writer| writer.list(&insert.columns, Self::column_of))?;
            self.put(" ");
        }
        match &insert.source {
            Some(source) => self.query(source)?,
            None if insert.columns.is_empty() => self.put("DEFAULT VALUES"),
            None => return Err(invalid("DEFAULT VALUES allows no columns")),
        }
        match &insert.on {
            None => {}
            Some(OnInsert::OnConflict(conflict)) => self.conflict(conflict)?,
            Some(_) => return Err(invalid("SQLite has no ON DUPLICATE KEY: write ON CONFLICT")),
        }
        Ok(insert.returning.as_ref())
    }

    fn conflict(&mut self, conflict: &OnConflict) -> Written {
        let OnConflict { conflict_target, action } = conflict;
        self.put(" ON CONFLICT");
        match conflict_target {
            None => {}
            Some(ConflictTarget::Columns(columns)) => self.parentheses(|writer| writer.list(columns, Self::column))?,
            Some(ConflictTarget::OnConstraint(_)) => return Err(invalid("SQLite has no ON CONSTRAINT")),
        }
        match action {
            OnConflictAction::DoNothing => {
                self.put(" DO NOTHING");
                Ok(())
            }
            OnConflictAction::DoUpdate(_) if conflict_target.is_none() => {
                Err(invalid("ON CONFLICT DO UPDATE does not work on PostgreSQL without columns: write ON CONFLICT (…)"))
            }
            OnConflictAction::DoUpdate(update) => {
                self.put(" DO UPDATE SET ");
                self.list(&update.assignments, Self::assignment)?;
                self.condition(" WHERE ", update.selection.as_ref())
            }
        }
    }

    fn update<'u>(&mut self, update: &'u Update) -> Result<Option<&'u Vec<SelectItem>>, StorageError> {
        if update.or.is_some() {
            return Err(invalid("UPDATE OR … does not work on PostgreSQL"));
        }
        if !update.order_by.is_empty() || update.limit.is_some() || update.output.is_some() {
            return Err(invalid("an UPDATE may have only SET, FROM, WHERE and RETURNING"));
        }
        self.put("UPDATE ");
        self.changed_table(&update.table)?;
        self.put(" SET ");
        self.list(&update.assignments, Self::assignment)?;
        match &update.from {
            None => {}
            Some(UpdateTableFromKind::AfterSet(tables)) => {
                self.put(" FROM ");
                self.list(tables, Self::joined)?;
            }
            Some(UpdateTableFromKind::BeforeSet(_)) => return Err(invalid("FROM before SET: write it after SET")),
        }
        self.condition(" WHERE ", update.selection.as_ref())?;
        Ok(update.returning.as_ref())
    }

    fn delete<'d>(&mut self, delete: &'d Delete) -> Result<Option<&'d Vec<SelectItem>>, StorageError> {
        let strange = !delete.tables.is_empty() || delete.using.is_some() || delete.output.is_some();
        if strange || !delete.order_by.is_empty() || delete.limit.is_some() {
            return Err(invalid("a DELETE may have only FROM, WHERE and RETURNING"));
        }
        self.put("DELETE FROM ");
        match &delete.from {
            FromTable::WithFromKeyword(tables) if tables.len() == 1 => self.changed_table(&tables[0])?,
            _ => return Err(invalid("DELETE FROM needs one table")),
        }
        self.condition(" WHERE ", delete.selection.as_ref())?;
        Ok(delete.returning.as_ref())
    }

    fn changed_table(&mut self, table: &TableWithJoins) -> Written {
        if !table.joins.is_empty() || !matches!(table.relation, TableFactor::Table { .. }) {
            return Err(invalid("INSERT, UPDATE and DELETE need the name of one table"));
        }
        self.joined(table)
    }

    fn assignment(&mut self, assignment: &Assignment) -> Written {
        let Assignment { target, value } = assignment;
        match target {
            AssignmentTarget::ColumnName(column) => self.column_of(column)?,
            AssignmentTarget::Tuple(columns) => {
                self.parentheses(|writer| writer.list(columns, Self::column_of))?;
            }
        }
        self.put(" = ");
        match (target, value) {
            (AssignmentTarget::Tuple(_), Expr::Tuple(values)) => self.tuple(values),
            _ => self.expression(value),
        }
    }
}

fn insert_is_plain(insert: &Insert) -> Written {
    if insert.or.is_some() || insert.replace_into || insert.ignore {
        return Err(invalid(NO_REPLACE));
    }
    let of_mysql = insert.priority.is_some() || insert.insert_alias.is_some() || !insert.assignments.is_empty();
    let of_hive = insert.overwrite || insert.has_table_keyword || insert.partitioned.is_some();
    let of_others = insert.settings.is_some() || insert.format_clause.is_some() || insert.output.is_some();
    let of_many = insert.multi_table_insert_type.is_some()
        || !insert.multi_table_into_clauses.is_empty()
        || !insert.multi_table_when_clauses.is_empty()
        || insert.multi_table_else_clause.is_some();
    if of_mysql || of_hive || of_others || of_many || !insert.after_columns.is_empty() || !insert.into {
        return Err(invalid("SQLite does not support this clause of INSERT"));
    }
    Ok(())
}
