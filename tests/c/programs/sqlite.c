/* Asks a database in memory; sqlite3 itself wants locks, files and clocks. */
#include <sqlite3.h>
#include <stdio.h>

static int row(void *none, int columns, char **texts, char **names)
{
    (void)none;
    for (int i = 0; i < columns; i++)
        printf("%s %s\n", names[i], texts[i]);
    return 0;
}

int main(void)
{
    sqlite3 *base;

    return sqlite3_open(":memory:", &base) != SQLITE_OK ||
           sqlite3_exec(base,
                        "CREATE TABLE t(x PRIMARY KEY);"
                        "INSERT INTO t VALUES (2), (40), ('b'), ('a');"
                        "SELECT sum(x) FROM t;"
                        "SELECT upper(x) AS y FROM t WHERE x > 'a';",
                        row, NULL, NULL) != SQLITE_OK ||
           sqlite3_close(base) != SQLITE_OK;
}
