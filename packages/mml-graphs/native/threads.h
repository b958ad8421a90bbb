/* Run tasks on several threads, with POSIX threads or the Windows API. */

#ifndef MML_GRAPHS_THREADS_H
#define MML_GRAPHS_THREADS_H

#include <stdint.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>
typedef volatile LONG64 Counter;
typedef HANDLE Thread;
static int64_t add_to(Counter *counter, int64_t number) { return InterlockedExchangeAdd64(counter, number) + number; }
#else
#include <pthread.h>
#include <stdatomic.h>
typedef _Atomic int64_t Counter;
typedef pthread_t Thread;
static int64_t add_to(Counter *counter, int64_t number) { return atomic_fetch_add(counter, number) + number; }
#endif

#define MAX_THREADS 64

typedef struct {
    void (*run)(void *context, int64_t task, int thread);
    void *context;
    int64_t num_tasks;
    Counter next;
} Tasks;

typedef struct {
    Tasks *tasks;
    int thread;
} Worker;

static void work(Worker *worker) {
    Tasks *tasks = worker->tasks;
    for (int64_t task; (task = add_to(&tasks->next, 1) - 1) < tasks->num_tasks;)
        tasks->run(tasks->context, task, worker->thread);
}

#ifdef _WIN32
static DWORD WINAPI start_work(LPVOID worker) {
    work(worker);
    return 0;
}
#else
static void *start_work(void *worker) {
    work(worker);
    return NULL;
}
#endif

/* Call run(context, task, thread) for each task. This thread takes part as thread 0. If the system refuses to create
 * a thread, the others do its work. No thread outlives the call, so that processes can fork afterwards. */
static void run_parallel(void (*run)(void *, int64_t, int), void *context, int64_t num_tasks, int num_threads) {
    Tasks tasks = {run, context, num_tasks, 0};
    Worker workers[MAX_THREADS];
    Thread threads[MAX_THREADS];
    int started = 0;
    if (num_threads > num_tasks) num_threads = (int)num_tasks;
    for (int t = 0; t < num_threads || t == 0; t++) workers[t] = (Worker){&tasks, t};
    for (int t = 1; t < num_threads; t++, started++) {
#ifdef _WIN32
        threads[started] = CreateThread(NULL, 0, start_work, workers + t, 0, NULL);
        if (!threads[started]) break;
#else
        if (pthread_create(threads + started, NULL, start_work, workers + t)) break;
#endif
    }
    work(workers);
    for (int t = 0; t < started; t++) {
#ifdef _WIN32
        WaitForSingleObject(threads[t], INFINITE);
        CloseHandle(threads[t]);
#else
        pthread_join(threads[t], NULL);
#endif
    }
}

#endif
