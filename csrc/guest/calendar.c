/* Seconds since 1970 as a date, for libraries that print or parse dates.  What
 * time it is a guest does not know: see time() in glibc.c. */
#include "internal.h"

#include <errno.h>
#include <limits.h>

/* As Linux's time.h lays it out. */
struct tm {
    int tm_sec, tm_min, tm_hour, tm_mday, tm_mon, tm_year, tm_wday, tm_yday;
    int tm_isdst;
    long tm_gmtoff;
    const char *tm_zone;
};

struct tm *gmtime(const long *time);
struct tm *gmtime_r(const long *restrict time, struct tm *restrict to);

/* A guest may bring its own of either. */
#pragma weak gmtime
#pragma weak gmtime_r

#define DAY 86400
/* Dates repeat after 400 years, and so do days of the week. */
#define DAYS_400 146097
#define DAYS_100 36524
#define DAYS_4 1461

/* In years that begin in March leap days come last, and the lengths of months
 * are regular: 153 days in each five. */
struct tm *gmtime_r(const long *restrict time, struct tm *restrict to)
{
    long days = *time / DAY, second = *time % DAY;
    if (second < 0) {
        second += DAY;
        days--;
    }
    long weekday = (days % 7 + 7 + 4) % 7; /* 1970 began on a Thursday */
    days -= 11017;                         /* from the 1st of March 2000 */
    long era = days / DAYS_400, day = days % DAYS_400;
    if (day < 0) {
        day += DAYS_400;
        era--;
    }
    long century = day / DAYS_100 - day / (DAYS_400 - 1);
    long rest = day - century * DAYS_100;
    long leap = rest / DAYS_4;
    rest -= leap * DAYS_4;
    long single = rest / 365 - rest / (DAYS_4 - 1);
    rest -= single * 365; /* the day of its year, from March */
    long year = 2000 + 400 * era + 100 * century + 4 * leap + single;
    bool leaps = single == 0 && (leap != 0 || century == 0);
    long month = (5 * rest + 2) / 153; /* 0: March */
    bool next = month >= 10;           /* January or February */
    long of_year = next ? rest - 306 : rest + 59 + leaps;

    if (year + next - 1900 > INT_MAX || year + next - 1900 < INT_MIN) {
        errno = EOVERFLOW;
        return NULL;
    }
    *to = (struct tm){
        .tm_sec = (int)(second % 60),
        .tm_min = (int)(second / 60 % 60),
        .tm_hour = (int)(second / 3600),
        .tm_mday = (int)(rest - (153 * month + 2) / 5 + 1),
        .tm_mon = (int)(next ? month - 10 : month + 2),
        .tm_year = (int)(year + next - 1900),
        .tm_wday = (int)weekday,
        .tm_yday = (int)of_year,
        .tm_zone = "GMT",
    };
    return to;
}

struct tm *gmtime(const long *time)
{
    static struct tm date;
    return gmtime_r(time, &date);
}
