/* Looking at nodes for a task, and choosing the best of them, in one loop each.
 *
 * The planner asks this for every placement, mostly of few nodes, where a chain of array operations
 * costs some forty calls. The numbers are those of `asks`, `rank`, `rooms` and `worths`, operation by
 * operation, so that a site without a compiler places the same; `test_loops.py` holds them together.
 * What is rare (GPUs that differ within a node, profiles not met before) is left to those: such nodes
 * are told to the caller. Built without contraction of floating-point operations, which would round
 * differently.
 */

#include <math.h>
#include <stdint.h>

/* Of the structures below, which `loops.py` fills: counts one up when they change, so that a library
 * of another version is not taken for this one. */
const int wattline_loops_layout = 1;

enum { NO_CLASS = 0, NOWHERE_YET = -1 };
static const int64_t PERMILLE = 1000;
static const double NANO_PER_MILLI = 1e6;

/* `Columns`, by its names. [node] unless said. */
struct columns {
    int64_t node_count;
    const uint8_t *is_open;
    const int32_t *whole;
    const int32_t *first_idle_mw; /* [n, node] */
    const int64_t *cpus_free, *memory_free_bytes, *one_class, *load_mw, *psu_permille, *warmth;
    const int64_t *group;
    int64_t group_count, depth;
    const int64_t *group_rows, *group_share; /* [n, group] */
    const int64_t *room_mw;                  /* [row] */
    const double *budget_mw;                 /* [row] at least 1 */
    int64_t has_mixed;
};

/* `Worths`. */
struct worths {
    const int64_t *profile, *worth_now; /* [node] */
    const int64_t *worth;               /* [profile, CPUs] */
    int64_t cpus_count;
};

/* `Ask` and `Look`. */
struct wanted {
    int64_t gpus, cpus, memory_bytes, about_mw;
    const uint8_t *is_suited; /* [class] */
    const int64_t *task_mw;   /* [class] */
    double *cost;             /* [node] */
    int64_t *needed_mw;       /* [node] */
};

/* `Weights`, ready to multiply with. */
struct weights {
    double fragments_per_milli, warmth, cpus, watts_per_mw, stranding;
};

static int64_t floor_div(int64_t a, int64_t b) { /* b > 0 */
    int64_t quotient = a / b;
    return quotient - (a % b < 0);
}

static int fits(const struct columns *c, const struct wanted *l, int64_t at) {
    return c->is_open[at] && c->whole[at] >= l->gpus && c->cpus_free[at] >= l->cpus &&
           c->memory_free_bytes[at] >= l->memory_bytes;
}

static int64_t wall_mw(const struct columns *c, int64_t at, int64_t load_mw) {
    return -floor_div(-load_mw * PERMILLE, c->psu_permille[at]);
}

/* Number of what the task leaves of a node's GPUs; NOWHERE_YET: the caller has to find out. */
static int64_t leads_to(const struct worths *w, const int64_t *leads, int64_t at) {
    int64_t number = w->profile[at];
    return leads ? leads[number] : number;
}

/* The node has what `fits` asks; 0: the caller has to look at it. */
static int looked_at(const struct columns *c, const struct worths *w, const struct weights *weights,
                     const struct wanted *l, const int64_t *leads, int64_t at) {
    int64_t after = leads_to(w, leads, at);
    if (after == NOWHERE_YET || c->psu_permille[at] <= 0) return 0;
    int64_t rise_mw =
        l->task_mw[c->one_class[at]] - c->first_idle_mw[l->gpus * c->node_count + at];
    int64_t load_mw = c->load_mw[at];
    int64_t needed_mw = wall_mw(c, at, load_mw + rise_mw) - wall_mw(c, at, load_mw);
    int64_t left = w->worth[after * w->cpus_count + c->cpus_free[at] - l->cpus];
    double cost = weights->fragments_per_milli * ((double)(w->worth_now[at] - left) / NANO_PER_MILLI);
    cost += weights->warmth * (double)c->warmth[at];
    cost -= weights->cpus * (double)c->cpus_free[at];
    if (weights->watts_per_mw != 0.0) cost += weights->watts_per_mw * (double)needed_mw;
    l->needed_mw[at] = needed_mw;
    l->cost[at] = cost;
    return 1;
}

/* Look again at nodes touched after `seen`. Returns how many the task fits on, of those that are
 * looked at here; the others are written to `rest`, [node], and counted. */
int64_t wattline_look(const struct columns *c, const struct worths *w, const struct weights *weights,
                      const struct wanted *l, const int64_t *leads, const int64_t *touched,
                      int64_t seen, int64_t *rest, int64_t *rest_count) {
    int64_t able = 0, left_over = 0;
    for (int64_t at = 0; at < c->node_count; at++) {
        if (touched[at] <= seen) continue;
        l->cost[at] = INFINITY;
        if (!fits(c, l, at)) continue;
        int64_t class = c->one_class[at];
        int is_mixed = l->gpus && class == NO_CLASS && c->has_mixed;
        if (!is_mixed && l->gpus && !l->is_suited[class]) continue;
        if (!is_mixed && looked_at(c, w, weights, l, leads, at)) able++;
        else rest[left_over++] = at;
    }
    *rest_count = left_over;
    return able;
}

/* What rows leave, by group, once it was asked for. */
struct group {
    int64_t asked; /* in which choice */
    int64_t most_mw;
    double share_left;
};

static void ask_rows(const struct columns *c, const int64_t *given_back_mw, int64_t about_mw,
                     int64_t number, struct group *group) {
    int64_t most_mw = INT64_MAX;
    double share_left = INFINITY;
    for (int64_t n = 0; n < c->depth; n++) {
        int64_t row = c->group_rows[n * c->group_count + number];
        int64_t share = c->group_share[n * c->group_count + number];
        double left = (double)(c->room_mw[row] - about_mw) / c->budget_mw[row];
        int64_t mw = c->room_mw[row] + given_back_mw[row];
        if (share != PERMILLE) mw = floor_div(mw * PERMILLE, share);
        if (left < share_left) share_left = left;
        if (mw < most_mw) most_mw = mw;
    }
    group->share_left = share_left;
    group->most_mw = most_mw > 0 ? most_mw : 0;
}

/* The first of the nodes with the least cost, of those that it fits on and whose rows have the watts;
 * -1: there is none. `barred`: [node], or NULL. `choice`: a number not used before with `groups`. */
int64_t wattline_best(const struct columns *c, const struct weights *weights, const struct wanted *l,
                      const int64_t *given_back_mw, const uint8_t *barred, struct group *groups,
                      int64_t choice) {
    int64_t best = -1;
    double least = INFINITY;
    for (int64_t at = 0; at < c->node_count; at++) {
        double cost = l->cost[at];
        if (!(cost < INFINITY) || (barred && barred[at])) continue;
        struct group *group = &groups[c->group[at]];
        if (group->asked != choice) {
            ask_rows(c, given_back_mw, l->about_mw, c->group[at], group);
            group->asked = choice;
        }
        cost += -weights->stranding * group->share_left;
        if (cost < least && l->needed_mw[at] <= group->most_mw) {
            least = cost;
            best = at;
        }
    }
    return best;
}
