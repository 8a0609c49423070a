-- Money is in cents, always an integer. Times are texts in UTC, which sort like the moments they name.

CREATE TABLE products (
    id            INTEGER PRIMARY KEY,
    name          TEXT    NOT NULL CHECK (name <> ''),
    -- An order's total is held to the same bound: up to there, cents are exact as a JSON number.
    price_cents   INTEGER NOT NULL CHECK (price_cents BETWEEN 0 AND 1000000000000000),
    description   TEXT    NOT NULL,
    stock         INTEGER NOT NULL CHECK (stock >= 0),
    date_creation TEXT    NOT NULL
) STRICT;

-- AUTOINCREMENT, so that the id of an order is never given to another one.
CREATE TABLE orders (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id       TEXT    NOT NULL CHECK (user_id <> ''),
    total_cents   INTEGER NOT NULL CHECK (total_cents BETWEEN 0 AND 1000000000000000),
    status        TEXT    NOT NULL CHECK (status IN ('pending', 'paid', 'shipped', 'delivered', 'cancelled')),
    date_creation TEXT    NOT NULL
) STRICT;

CREATE INDEX orders_of_a_user ON orders (user_id, date_creation DESC, id DESC);

-- Name and price are as they were when the order was placed. The product itself may change or go, the item stays: so
-- product_id refers to nothing.
CREATE TABLE order_items (
    id            INTEGER PRIMARY KEY,
    order_id      INTEGER NOT NULL REFERENCES orders (id),
    product_id    INTEGER NOT NULL,
    product_name  TEXT    NOT NULL,
    quantity      INTEGER NOT NULL CHECK (quantity BETWEEN 1 AND 1000000),
    price_cents   INTEGER NOT NULL CHECK (price_cents >= 0),
    UNIQUE (order_id, product_id)
) STRICT;

INSERT INTO products (id, name, price_cents, description, stock, date_creation) VALUES
    (1, 'Laptop Dell XPS 13',   129900, 'Compact laptop with a 13-inch screen',       10, '2024-01-01 00:00:00'),
    (2, 'iPhone 15 Pro',        119900, 'Smartphone with a titanium frame',           15, '2024-01-01 00:00:00'),
    (3, 'Sony WH-1000XM5',       39900, 'Wireless headphones with noise cancelling',  20, '2024-01-01 00:00:00'),
    (4, 'iPad Air',              69900, 'Light tablet for work and drawing',          12, '2024-01-01 00:00:00'),
    (5, 'Samsung Galaxy Watch',  34900, 'Smartwatch with health tracking',            18, '2024-01-01 00:00:00');
