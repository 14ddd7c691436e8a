# A worker that is sent small objects through a queue, which is a pipe, and sends back their sum.
import multiprocessing


def work(tasks, results):
    total = 0
    while (number := tasks.get()) is not None:
        total += number
    results.put(total)


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    tasks, results = multiprocessing.SimpleQueue(), multiprocessing.SimpleQueue()
    worker = multiprocessing.Process(target=work, args=(tasks, results))
    worker.start()
    for number in range(3000):
        tasks.put(number)
    tasks.put(None)
    print(results.get())
    worker.join()
