"""Watch a sweep while it runs and stop it when enough is seen; the output goes off all the same."""

from drivebay import Bay


def main() -> None:
    with Bay() as bay, bay.open(bay.find()[0].resource) as smu:
        stream = smu.stream("iv_sweep", start_v=0, stop_v=0.8, points=401, compliance_a=0.1)
        for chunk in stream:
            highest_a = float(chunk["current_a"].max())
            print(f"{len(chunk['current_a'])} points, up to {highest_a:.3e} A")
            if highest_a > 1e-3:
                stream.close()
                break
        print(bay.runs.open("last").state)


if __name__ == "__main__":
    main()
